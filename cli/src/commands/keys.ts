import { existsSync } from "node:fs";
import { InvalidArgumentError, Option, type Command } from "commander";
import {
  busKinds,
  isBusKind,
  type BusKind,
  type ListedKey,
} from "@rs-agent/shared/bus/allow-list.ts";
import {
  addKey,
  allowFileOf,
  initKeyFolder,
  readKeyFolder,
  revokeKey,
  secretFileOf,
} from "../key-folder.ts";
import type { CliDeps } from "../session.ts";
import { field } from "../terminal.ts";

interface AddOptions {
  kind: BusKind[];
  publicKey?: string;
  comment?: string;
  groupReadable?: true;
}

/** Keys of the bus, in a folder on this host: `keys init|add|revoke|ls`. Needs no database. */
export function addKeys(program: Command, { output }: CliDeps): void {
  const group = program.command("keys");
  const groupReadable = () =>
    new Option("--group-readable", "secret files 0440 instead of 0600, for secrets in containers");
  group
    .command("init")
    .description("make a key for each kind of service, and the list of all")
    .argument("<folder>")
    .addOption(groupReadable())
    .action((folder: string, options: { groupReadable?: true }) => {
      initKeyFolder(folder, modeOf(options), new Date());
      output.tell(`${allowFileOf(folder)}: the list, for every host (BUS_ALLOW_FILE)`);
      output.tell("Secret, each for its own service (BUS_KEY_FILE):");
      for (const kind of busKinds) output.tell(`  ${secretFileOf(folder, kind)}`);
    });
  group
    .command("add")
    .description("make one more key and list it")
    .argument("<folder>")
    .argument("<name>", "short, without blanks; the secret goes to NAME.key")
    .addOption(
      new Option(
        "--kind <kind...>",
        `what it may act as: ${busKinds.join(", ")} or a check of your own`,
      )
        .argParser(withKind)
        .makeOptionMandatory(),
    )
    .option("--public-key <key>", "list a key that was made elsewhere")
    .option("--comment <text>", "kept in the list")
    .addOption(groupReadable())
    .action((folder: string, name: string, options: AddOptions) => {
      const { kind: kinds, publicKey, comment } = options;
      addKey(folder, { name, kinds, publicKey, comment }, modeOf(options), new Date());
      if (publicKey === undefined) output.tell(`${secretFileOf(folder, name)}: its secret`);
      output.tell(`${name} is listed; bring ${allowFileOf(folder)} to every host`);
    });
  group
    .command("revoke")
    .description("refuse a key from now on; its sessions end within seconds")
    .argument("<folder>")
    .argument("<name>", "its name or public key")
    .action((folder: string, nameOrKey: string) => {
      const { name } = revokeKey(folder, nameOrKey, new Date());
      output.tell(`${name} is revoked; bring ${allowFileOf(folder)} to every host`);
    });
  group
    .command("ls")
    .description("the listed keys")
    .argument("<folder>")
    .option("--json", "print JSON")
    .action((folder: string, options: { json?: true }) => {
      const { keys } = readKeyFolder(folder);
      const shown = keys.map((key) => ({ ...key, secretFile: secretOf(folder, key) }));
      if (options.json === true) output.json(shown);
      else output.print(shown.length === 0 ? "none" : shown.map(paragraph).join("\n"));
    });
}

function withKind(kind: string, before: BusKind[] = []): BusKind[] {
  if (isBusKind(kind)) return [...before, kind];
  throw new InvalidArgumentError(
    `Allowed choices are ${busKinds.join(", ")} and the names of checks of your own.`,
  );
}

function modeOf({ groupReadable }: { groupReadable?: true }): number {
  return groupReadable === true ? 0o440 : 0o600;
}

function secretOf(folder: string, { name }: ListedKey): string | null {
  const file = secretFileOf(folder, name);
  return existsSync(file) ? file : null;
}

function paragraph(key: ListedKey & { secretFile: string | null }): string {
  const { name, kinds, added, revoked, comment, publicKey, secretFile } = key;
  const state =
    revoked !== undefined
      ? `revoked ${revoked}`
      : `may act as ${kinds.join(", ")}${added === undefined ? "" : ` since ${added}`}`;
  const secret = secretFile === null ? "its secret is elsewhere" : `its secret is ${secretFile}`;
  const lines = [state, publicKey, secret, ...(comment === undefined ? [] : [comment])];
  const [first = "", ...others] = lines;
  const head =
    name.length < labelWidth ? field(name, first, labelWidth) : `${name}\n${indent(first)}`;
  return [head, ...others.map(indent)].join("\n");
}

const labelWidth = 16;

function indent(text: string): string {
  return field("", text, labelWidth);
}
