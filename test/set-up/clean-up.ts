import { afterAll } from "vitest";
import { dropDatabases } from "../support/test-mongodb.ts";

// Hooks run in reverse order: after those of the file itself.
afterAll(dropDatabases);
