import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseEnv } from "node:util";

export const root = join(import.meta.dirname, "../..");
export const folder = join(root, "deploy/systemd");
/** Where the project lies on a host, as the units have it. */
export const installed = "/opt/rs-agent";

/** The settings of all services, as the sample file has them. */
export const settings = parseEnv(readFileSync(join(folder, "rs-agent.env"), "utf8"));

export class Unit {
  /** `relay` of `rs-agent-relay@.service`. */
  readonly service: string;
  readonly #lines: { section: string; key: string; value: string }[];

  constructor(file: string) {
    this.service = /^rs-agent-(.+?)@?\.service$/.exec(file)?.[1] ?? "";
    const texts = [file, "rs-agent-.service.d/10-common.conf"].map((name) =>
      readFileSync(join(folder, "system", name), "utf8"),
    );
    this.#lines = texts.flatMap(linesOf);
  }

  /** All values of a key, in their order. */
  all(section: string, key: string): string[] {
    return this.#lines
      .filter((line) => line.section === section && line.key === key)
      .map(({ value }) => value);
  }

  /** What holds of a key that holds once. */
  last(section: string, key: string): string {
    const value = this.all(section, key).at(-1);
    if (value === undefined) throw new Error(`${this.service} has no ${key}`);
    return value;
  }

  get environment(): Record<string, string> {
    const pairs = this.all("Service", "Environment").flatMap((value) => value.split(" "));
    return Object.fromEntries(
      pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
    );
  }

  /** Names of credentials with the files that they are made of. */
  get credentials(): [name: string, file: string][] {
    return this.all("Service", "LoadCredential").map((value) => {
      const at = value.indexOf(":");
      return [value.slice(0, at), value.slice(at + 1)];
    });
  }
}

function linesOf(text: string) {
  let section = "";
  return text.split("\n").flatMap((line) => {
    const title = /^\[(.+)\]$/.exec(line)?.[1];
    if (title !== undefined) section = title;
    const [, key, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    return key === undefined || value === undefined ? [] : [{ section, key, value }];
  });
}

/** Units of services by file name, with what they share (`rs-agent-.service.d`) behind it, as systemd reads them. */
export const units = new Map(
  readdirSync(join(folder, "system"))
    .filter((name) => name.endsWith(".service"))
    .map((name) => [name, new Unit(name)]),
);
