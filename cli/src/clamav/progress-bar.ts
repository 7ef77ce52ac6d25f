import type { Entry } from "./files.ts";
import type { Streams } from "./program.ts";
import type { ScannedFile } from "./outcome.ts";

export interface ProgressBar {
  advance(file: ScannedFile): void;
  /** Writes something in place of the bar, then draws the bar again. */
  above(write: () => void): void;
  end(): void;
}

/** A scan that ends sooner shows no bar. */
const appearsAfterMs = 1_000;
const redrawMs = 100;
const clearLine = "\r\x1b[K";

/** A bar over files and bytes on a terminal's last line; without a terminal it does nothing. */
export function createProgressBar(
  terminal: Streams["stderr"] | undefined,
  entries: readonly Entry[],
): ProgressBar {
  if (terminal === undefined) {
    return { advance: () => undefined, above: (write) => write(), end: () => undefined };
  }
  const totalBytes = entries.reduce((sum, entry) => sum + sizeOf(entry), 0);
  let bytes = 0;
  let files = 0;
  let isShown = false;
  const draw = () => {
    isShown = true;
    const share = totalBytes === 0 ? files / Math.max(entries.length, 1) : bytes / totalBytes;
    const width = terminal.columns ?? 80;
    terminal.write(clearLine + barOf(Math.min(share, 1), files, entries.length, width));
  };
  let redraw: NodeJS.Timeout | undefined;
  const appear = setTimeout(() => {
    draw();
    redraw = setInterval(draw, redrawMs);
  }, appearsAfterMs);
  return {
    advance(file) {
      files++;
      bytes += file.size ?? 0;
    },
    above(write) {
      if (isShown) terminal.write(clearLine);
      write();
      if (isShown) draw();
    },
    end() {
      clearTimeout(appear);
      clearInterval(redraw);
      if (isShown) terminal.write(clearLine);
      isShown = false;
    },
  };
}

function sizeOf(entry: Entry): number {
  return entry.kind === "file" ? entry.size : 0;
}

/** `[#######       ]  52 %  120 of 230 files`, as wide as the terminal. */
export function barOf(share: number, files: number, total: number, columns: number): string {
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  const counter = ` ${percent}  ${files} of ${total} files`;
  const width = Math.max(0, Math.min(50, columns - counter.length - 3));
  const filled = Math.round(share * width);
  return `[${"#".repeat(filled)}${" ".repeat(width - filled)}]${counter}`.slice(0, columns - 1);
}
