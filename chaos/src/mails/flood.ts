import { setTimeout as wait } from "node:timers/promises";
import { planMail } from "./planned-mail.ts";
import { openSubmitter, type Submission, type SubmitterOptions } from "./submissions.ts";

export interface FloodOptions extends SubmitterOptions {
  mails: number;
  clients: number;
  /** While this many accepted mails are not finished, the clients wait. */
  maxBacklog: number;
  backlog: () => number;
  signal: AbortSignal;
}

export interface Flood {
  readonly submissions: readonly Submission[];
  readonly accepted: number;
  /** Mails for which nothing more is tried: accepted, or refused for good. */
  readonly settled: number;
  /** Settles when every mail is accepted, or the signal has aborted. */
  readonly done: Promise<void>;
}

const lookEveryMs = 50;

/** Hands in all mails of a run, in the order of their numbers, with several clients at once. */
export function startFlood(options: FloodOptions): Flood {
  const { seed, mails, clients, signal } = options;
  const submissions: Submission[] = [];
  let accepted = 0;
  let settled = 0;
  const client = async () => {
    const submitter = openSubmitter(options);
    try {
      while (submissions.length < mails && !signal.aborted) {
        if (options.backlog() >= options.maxBacklog) {
          await wait(lookEveryMs, undefined, { signal }).catch(() => undefined);
          continue;
        }
        const submission: Submission = {
          mail: planMail(seed, submissions.length),
          acceptedId: undefined,
          unheard: 0,
          lastFailure: undefined,
        };
        submissions.push(submission);
        await submitter.submit(submission, signal);
        settled += 1;
        if (submission.acceptedId !== undefined) accepted += 1;
      }
    } finally {
      submitter.close();
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  return {
    submissions,
    get accepted() {
      return accepted;
    },
    get settled() {
      return settled;
    },
    done: all.then(() => undefined),
  };
}
