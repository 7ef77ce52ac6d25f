import { existsSync, realpathSync } from "node:fs";
import { delimiter, join, relative, sep } from "node:path";

const root = join(import.meta.dirname, "..", "..");

/** Where the reader of a hint is. */
export interface Place {
  /** The PATH. */
  path: string;
  cwd: string;
  /** Our project. */
  root: string;
}

/**
 * How a program of ours is called there, so that a hint can be typed as it stands: by its name if
 * that is on the PATH and is ours (an image, a host with our units), by `npx` in a checkout,
 * otherwise by its file.
 */
export function calledAs(name: "rs-agent" | "clamav-cli", { path, cwd, root }: Place): string {
  const program = join(root, "cli", "bin", `${name}.mjs`);
  // npx itself puts node_modules/.bin first on the PATH of the program that it runs.
  const folders = path.split(delimiter).filter((folder) => !/node_modules[/\\]\.bin$/.test(folder));
  const ours = new Set([program, join(root, "deploy", "systemd", name)]);
  if (folders.some((folder) => ours.has(realPathOf(join(folder, name)) ?? ""))) return name;
  const isInside = !relative(root, cwd).split(sep).includes("..");
  return isInside && existsSync(join(root, "node_modules", ".bin", name)) ? `npx ${name}` : program;
}

function realPathOf(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

const here: Place = { path: process.env.PATH ?? "", cwd: process.cwd(), root };

/** Our commands, as this user calls them here. */
export const rsAgent = calledAs("rs-agent", here);
export const clamavCli = calledAs("clamav-cli", here);
