#!/usr/bin/env node
import { runWithNode24 } from "./with-node-24.mjs";

await runWithNode24(new URL("../src/clamav-cli.ts", import.meta.url));
