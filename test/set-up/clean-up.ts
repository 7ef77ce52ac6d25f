import { afterAll } from "vitest";
import { dropDatabases } from "../support/test-mongodb.ts";

// Hooks run in reverse order, so this runs after those of the file itself.
afterAll(dropDatabases);
