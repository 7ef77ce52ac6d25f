import type { VirtualTime } from "./virtual-time.ts";

/** One line of what happened. */
interface Line {
  atMs: number;
  who: string;
  /** The ids of the mails that it is about; empty: it is about the world. */
  mails: readonly string[];
  text: string;
}

/** What happened in a schedule; kept only if somebody wants to read it. */
export class Trace {
  readonly enabled: boolean;
  readonly #time: VirtualTime;
  readonly #lines: Line[] = [];

  constructor(time: VirtualTime, enabled: boolean) {
    this.#time = time;
    this.enabled = enabled;
  }

  note(who: string, mails: readonly string[], text: () => string): void {
    if (!this.enabled) return;
    this.#lines.push({ atMs: this.#time.nowMs, who, mails, text: text() });
  }

  /**
   * The story of a mail (with its children and reports), and what happened to the world meanwhile;
   * without an id, everything.
   */
  story(mailId?: string): string {
    const isTold = ({ mails }: Line) =>
      mailId === undefined || mails.length === 0 || mails.some((id) => id.startsWith(mailId));
    return this.#lines
      .filter(isTold)
      .map(({ atMs, who, mails, text }) => {
        const seconds = (atMs / 1_000).toFixed(4).padStart(9);
        return `${seconds} ${who.padEnd(14)} ${mails.join(",").padEnd(6)} ${text}`;
      })
      .join("\n");
  }
}
