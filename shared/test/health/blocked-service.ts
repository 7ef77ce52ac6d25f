import { serveIdle } from "./served.ts";

/** A service whose event loop stands still after the first line on standard input. */
const { health } = await serveIdle();
process.stdout.write(`${health ?? ""}\n`);
process.stdin.once("data", () => {
  process.stdout.write("blocked\n");
  for (;;);
});
