import { z } from "zod";
import { workerServices } from "../checks/built-in-checks.ts";
import { ownCheckSchema } from "../checks/own-check.ts";
import { checkOf } from "../checks/verdict.ts";
import { readYaml } from "../yaml-source.ts";
import { isCurveKey, keyError } from "./curve-key.ts";
import type { SessionKind } from "./wire.ts";

/** What a key of the bus may act as, beside the workers of checks that a policy brings. */
export const busKinds = ["dispatcher", ...workerServices, "relay"];
export type BusKind = string;

/** The part that has sessions of a kind: a service of ours, or a check's own workers by its name. */
export function busKindOf(task: SessionKind): BusKind {
  if (task === "relay") return task;
  return task === "enrich" ? "enricher" : checkOf(task).service;
}

const busKindSchema = z.union([z.enum(busKinds), ownCheckSchema], {
  error: `must be ${busKinds.join(", ")} or the name of a check of your own`,
});

/** A kind that a key may be listed for. */
export function isBusKind(kind: string): boolean {
  return busKindSchema.safeParse(kind).success;
}

const listedKeySchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/i, "must be a short name without blanks"),
  publicKey: z.string().refine(isCurveKey, "must be 40 Z85 digits"),
  kinds: z.array(busKindSchema).min(1, "must name at least one kind"),
  added: z.string().optional(),
  /** Since when it is refused. */
  revoked: z.string().optional(),
  comment: z.string().max(500).optional(),
});
export type ListedKey = z.output<typeof listedKeySchema>;

const allowListSchema = z.strictObject({
  keys: z.array(listedKeySchema).superRefine((keys, context) => {
    for (const field of ["name", "publicKey"] as const) {
      const values = keys.map((key) => key[field]);
      const twice = values.find((value, at) => values.indexOf(value) !== at);
      if (twice === undefined) continue;
      context.addIssue({ code: "custom", message: `${field} ${twice} is there twice` });
    }
  }),
});

/** Stands for each kind that is not a dispatcher. */
export const anyWorker = "a worker or relay";

/** Who may act as what on the bus. */
export class AllowList {
  readonly keys: readonly ListedKey[];
  readonly #byKey: ReadonlyMap<string, ListedKey>;

  constructor(keys: readonly ListedKey[]) {
    this.keys = keys;
    this.#byKey = new Map(keys.map((key) => [key.publicKey, key]));
  }

  nameOf(publicKey: string): string | undefined {
    return this.#byKey.get(publicKey)?.name;
  }

  /** The keys that may act as this kind, in the order of the list. */
  keysOf(kind: BusKind): string[] {
    return this.keys.filter((key) => mayPlay(key, kind)).map(({ publicKey }) => publicKey);
  }

  /** Why a key may not act as this kind, or any worker's; undefined: it may. */
  refuses(publicKey: string | undefined, wanted: BusKind): string | undefined {
    const key = publicKey === undefined ? undefined : this.#byKey.get(publicKey);
    if (key === undefined) return "its key is not listed";
    if (key.revoked !== undefined) return "its key is revoked";
    const isFit = (kind: BusKind) =>
      wanted === anyWorker ? kind !== "dispatcher" : kind === wanted;
    if (key.kinds.some(isFit)) return undefined;
    return `its key is listed for ${key.kinds.join(", ")}, not for ${wanted}`;
  }
}

function mayPlay({ kinds, revoked }: ListedKey, kind: BusKind): boolean {
  return revoked === undefined && kinds.includes(kind);
}

/**
 * The allow list as its file has it: YAML, of which JSON is a part.
 * @throws TerminalError CFG_BUS_KEYS naming the file
 */
export function parseAllowList(text: string, path: string): AllowList {
  const source = readYaml(text);
  if (source.kind === "wrong") {
    const wrongs = source.wrongs.map(({ line, col, message }) => `${line}:${col}: ${message}`);
    throw keyError(path, wrongs.join("\n"));
  }
  const parsed = allowListSchema.safeParse(source.value);
  if (parsed.success) return new AllowList(parsed.data.keys);
  throw keyError(path, `is not an allow list:\n${z.prettifyError(parsed.error)}`);
}
