#!/usr/bin/env node
import { runWithNode24 } from "./with-node-24.mjs";

// What containers ask all the time must not load all commands.
const script = process.argv[2] === "ready" ? "../src/ready-main.ts" : "../src/rs-agent.ts";
await runWithNode24(new URL(script, import.meta.url));
