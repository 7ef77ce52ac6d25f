import { z } from "zod";
import type { OwnFinding } from "../checks/own-check.ts";
import { ownCheckSchema } from "../checks/own-check.ts";
import type { CheckTask } from "../bus/wire.ts";
import { runWithHealth } from "../health/run-with-health.ts";
import type { Logger } from "../logger.ts";
import { workerConfigSchema } from "./config.ts";
import type { Ability, TaskHandler } from "./handler.ts";
import { workerParts } from "./worker-health.ts";
import { startWorker } from "./worker.ts";

/** What a worker learns about a mail besides its bytes. */
export interface MailContext<S> {
  settings: S;
  smtp: CheckTask["smtp"];
  mailId: string;
  /** Aborts at the deadline, at a cancel and when the worker stops. */
  signal: AbortSignal;
  log: Logger;
  /** To be awaited before synchronous work of more than a second, at most a minute. */
  announceBusy: (ms: number) => Promise<void>;
}

/** A mail whose finding is known: the worker is able as long as `handle` finds just this. */
export interface Canary {
  mail: string;
  settings: unknown;
  finds: "passed" | "found";
}

/**
 * A worker for a check of your own: docs/write-a-worker.md. `handle` says what is in the mail; an error that it
 * throws is `unchecked: engine-error`, never `passed`.
 */
export interface OwnWorker<S> {
  /** The check's name in policies, and the worker's kind on the bus. */
  name: string;
  /** Of what looks at the mail; in verdicts, `explain` and `status`. */
  version: string;
  /** What a policy's `settings` must be; without it, anything. */
  settings: z.ZodType<S>;
  /** Mails at once; default 4. */
  concurrency?: number;
  canaries: readonly Canary[];
  handle(mail: Buffer, context: MailContext<S>): Promise<OwnFinding> | OwnFinding;
  close?(): Promise<void>;
}

/** Runs it as this process, by the settings that each worker has (docs/settings.md). */
export function runOwnWorker<S>(worker: OwnWorker<S>): Promise<void> {
  return runWithHealth(worker.name, workerConfigSchema, (deps) => {
    const handle = startWorker({ ...deps, handler: ownHandler(worker, deps.log) });
    handle.ready.then(
      () => deps.log.info({ bus: handle.mailbox }, "ready"),
      () => undefined, // the caller hears of it by `ready` itself
    );
    return { handle, parts: workerParts(handle) };
  });
}

/** @throws ZodError where the name may not be that of a check of your own */
export function ownHandler<S>(worker: OwnWorker<S>, log: Logger): TaskHandler {
  const { name, version, concurrency = 4 } = worker;
  const engine = { name, version };
  return {
    kind: ownCheckSchema.parse(name),
    concurrency: () => concurrency,
    async handle(task, mail, context) {
      if (mail.kind !== "bytes") throw new TypeError("this worker announces no spool");
      const settings = worker.settings.safeParse(task.settings);
      if (!settings.success) {
        const detail = `the policy's settings: ${z.prettifyError(settings.error)}`.slice(0, 1_000);
        return { output: { kind: "unchecked", reason: "engine-error", detail }, engine };
      }
      const { announceBusy = () => Promise.resolve(), signal } = context;
      const { smtp, mailId } = task;
      const about = {
        settings: settings.data,
        smtp,
        mailId,
        signal,
        log: context.log,
        announceBusy,
      };
      return { output: await worker.handle(mail.bytes, about), engine };
    },
    async canary(signal): Promise<Ability> {
      for (const { mail, settings, finds } of worker.canaries) {
        const { kind } = await worker.handle(Buffer.from(mail), {
          settings: worker.settings.parse(settings),
          smtp: { mailFrom: "", rcptTo: [], client: { address: "", name: "", helo: "" } },
          mailId: "canary",
          signal,
          log,
          announceBusy: () => Promise.resolve(),
        });
        if (kind !== finds) return { able: false, reason: `a canary is ${kind}, not ${finds}` };
      }
      return { able: true, engine };
    },
    close: async () => worker.close?.(),
  };
}
