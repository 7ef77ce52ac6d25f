import ora from "ora";
import { columnsOf, wrapAtWords } from "@rs-agent/shared/wrap-at-words.ts";

/** Tells a person what is being waited for: several things at once, each under its own name. */
export interface Progress {
  /** What `name` is doing now. If lines stay, the same text is said once, and few per second. */
  say(name: string, text: string): void;
  /** `name` is no longer waited for. */
  done(name: string): void;
  /** A line that stays. */
  note(text: string): void;
  /** Removes whatever moves. Further words are still shown. */
  stop(): void;
}

const betweenLinesMs = 2_000;

/** On a terminal one moving line; anywhere else plain lines. Never on standard output. */
export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  return stream.isTTY ? movingLine(stream) : plainLines(stream);
}

function movingLine(stream: NodeJS.WriteStream): Progress {
  const waiting = new Map<string, string>();
  // discardStdin would take Ctrl-C away from us.
  const spinner = ora({ stream, discardStdin: false });
  const show = () => {
    if (waiting.size === 0) spinner.stop();
    else spinner.start(clip([...waiting.values()].join(", "), stream.columns - 4));
  };
  return {
    say: (name, text) => {
      waiting.set(name, text);
      show();
    },
    done: (name) => {
      waiting.delete(name);
      show();
    },
    note: (text) => {
      spinner.stop();
      stream.write(`${wrapAtWords(text, columnsOf(stream))}\n`);
      show();
    },
    stop: () => spinner.stop(),
  };
}

/** In a log, a line for each step of each part, and counts that move only now and then. */
function plainLines(stream: NodeJS.WriteStream): Progress {
  const said = new Map<string, { text: string; at: number }>();
  return {
    say: (name, text) => {
      const last = said.get(name);
      const at = performance.now();
      if (last?.text === text || (last !== undefined && at - last.at < betweenLinesMs)) return;
      said.set(name, { text, at });
      stream.write(`- ${text}\n`);
    },
    done: (name) => said.delete(name),
    note: (text) => stream.write(`${text}\n`),
    stop: () => undefined,
  };
}

function clip(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}
