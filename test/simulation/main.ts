import { registerHooks } from "node:module";
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { installVirtualGlobals } from "./kit/virtual-globals.ts";
import type { Share } from "./simulate.ts";

/** `npm run simulate`: see docs/reliability.md. The same file is the entry of its threads. */

installVirtualGlobals();
// The bus asks for `zeromq`: here it gets sockets on the virtual network.
registerHooks({
  resolve: (name, context, next) =>
    name === "zeromq"
      ? { url: new URL("./kit/bus/zeromq.ts", import.meta.url).href, shortCircuit: true }
      : next(name, context),
});
const { runShare, simulate } = await import("./simulate.ts");
if (isMainThread) process.exitCode = await simulate(process.argv.slice(2));
else await runShare(workerData as Share, (tally) => parentPort?.postMessage(tally));
