import { spawnSync } from "node:child_process";
import type { Readable } from "node:stream";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { freePort, listens } from "@rs-agent/kit/free-port.ts";
import { startChild, untilAnswers, untilReady } from "@rs-agent/kit/processes/child.ts";

/** postfix's smtp-sink: takes every mail, counts it and throws it away. */
export interface SmtpSink {
  address: string;
  port: number;
  pid: number;
  /** Mails whose final dot it has seen so far. */
  readonly count: number;
  /**
   * Resolves when this many mails in all have come, with the time (`performance.now()`) of the
   * last.
   * @throws Error when none has come for `silenceMs`
   */
  arrived(count: number, silenceMs: number): Promise<number>;
  stop(): void;
}

/** @throws TerminalError SETUP_MISSING */
export async function startSmtpSink(): Promise<SmtpSink> {
  const program = ["/usr/sbin/smtp-sink", "smtp-sink"].find(
    (path) => spawnSync(path, ["-h"]).error === undefined,
  );
  if (program === undefined) {
    throw new TerminalError("SETUP_MISSING", "smtp-sink is not installed: apt-get install postfix");
  }
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const args = ["-c", ...user, `127.0.0.1:${port}`, "1000"];
  const child = startChild(program, args, { readsOutput: true });
  const counter = new Counter(child.stdout);
  const listening = (signal: AbortSignal) => untilAnswers(() => listens(port), 50, signal);
  await untilReady(child, listening, { withinMs: 5_000 });
  return {
    address: `127.0.0.1:${port}`,
    port,
    pid: child.pid,
    get count() {
      return counter.count;
    },
    arrived: (count, silenceMs) => counter.until(count, silenceMs),
    stop: () => void child.stop(),
  };
}

/** Follows what `smtp-sink -c` prints at each change: `sess=1 quit=0 mesg=17`. */
class Counter {
  count = 0;
  #lastAt = 0;
  #rest = "";
  #onChange: () => void = () => undefined;

  constructor(stdout: Readable | null) {
    stdout?.setEncoding("latin1").on("data", (text: string) => {
      const lines = (this.#rest + text).split("\r");
      this.#rest = lines.pop() ?? "";
      const last = /mesg=(\d+)/.exec(lines.at(-1) ?? "")?.[1];
      if (last === undefined || Number(last) === this.count) return;
      this.count = Number(last);
      this.#lastAt = performance.now();
      this.#onChange();
    });
  }

  async until(count: number, silenceMs: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const silence = setTimeout(() => {
      reject(new Error(`${count - this.count} mails have not arrived at the sink`));
    }, silenceMs);
    this.#onChange = () => {
      silence.refresh();
      if (this.count >= count) resolve(this.#lastAt);
    };
    this.#onChange();
    try {
      return await promise;
    } finally {
      clearTimeout(silence);
      this.#onChange = () => undefined;
    }
  }
}
