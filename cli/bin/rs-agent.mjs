#!/usr/bin/env node
import { runWithNode24 } from "./with-node-24.mjs";

// Containers ask `ready` all the time: it must not load all the commands.
const script = process.argv[2] === "ready" ? "../src/ready-main.ts" : "../src/rs-agent.ts";
await runWithNode24(new URL(script, import.meta.url));
