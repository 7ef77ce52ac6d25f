import { askReady } from "./ready.ts";

/** `rs-agent ready` alone, without the rest of `rs-agent`. */
const { exitCode, text } = await askReady(process.argv.slice(3), process.env);
(exitCode === 0 ? process.stdout : process.stderr).write(`${text}\n`);
process.exitCode = exitCode;
