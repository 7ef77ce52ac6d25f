import ora from "ora";
import { columnsOf, wrapAtWords } from "@rs-agent/shared/wrap-at-words.ts";

/** Tells a person what is being waited for: several things at once, each by name. */
export interface Progress {
  /**
   * What `name` is doing now. Where lines stay, a text is shown once, and only a few per second.
   */
  say(name: string, text: string): void;
  /** `name` is no longer waited for. */
  done(name: string): void;
  /** A line that stays. */
  note(text: string): void;
  /** Removes the moving line. Later notes are still shown. */
  stop(): void;
}

const betweenLinesMs = 2_000;

/** On a terminal one moving line, anywhere else plain lines. Never on standard output. */
export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  return stream.isTTY ? movingLine(stream) : plainLines(stream);
}

function movingLine(stream: NodeJS.WriteStream): Progress {
  const waiting = new Map<string, string>();
  // With discardStdin, Ctrl-C would not reach us.
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

/** In a log: one line for each step of each part, and changing counts only now and then. */
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
