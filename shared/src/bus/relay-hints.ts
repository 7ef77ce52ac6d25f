import type { PoolSession } from "./pool-session.ts";
import { namedAtMost } from "./wire.ts";

/** What relays are told, in one frame for all mail of a route that one turn of the event loop brings. */
export class RelayHints {
  readonly #sessions: () => readonly PoolSession[];
  #waiting = new Map<string, string[]>();
  #turn = 0;

  constructor(sessions: () => readonly PoolSession[]) {
    this.#sessions = sessions;
  }

  add(route: string, mailId: string): void {
    if (this.#waiting.size === 0) setImmediate(() => this.#tell());
    const mails = this.#waiting.get(route) ?? [];
    mails.push(mailId);
    this.#waiting.set(route, mails);
  }

  #tell(): void {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    const relays = this.#sessions().filter((session) => session.takesHints);
    if (relays.length === 0) return;
    for (const [route, mails] of waiting) {
      for (let at = 0; at < mails.length; at += namedAtMost) {
        relays[this.#turn % relays.length]?.tellWaiting(route, mails.slice(at, at + namedAtMost));
        this.#turn += 1;
      }
    }
  }
}
