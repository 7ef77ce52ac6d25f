import { z } from "zod";
import type { TaskKind } from "../checks/verdict.ts";
import { readYaml } from "../yaml-source.ts";
import { isCurveKey, keyError } from "./curve-key.ts";

/** What a key of the bus may act as. */
export const busKinds = ["dispatcher", "av-worker", "spam-worker", "enricher"] as const;
export type BusKind = (typeof busKinds)[number];

/** The part that answers tasks of a kind. */
export const workerKindOf = {
  virus: "av-worker",
  spam: "spam-worker",
  enrich: "enricher",
} as const satisfies Record<TaskKind, BusKind>;

const listedKeySchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/i, "must be a short name without blanks"),
  publicKey: z.string().refine(isCurveKey, "must be 40 Z85 digits"),
  kinds: z.array(z.enum(busKinds)).min(1, "must name at least one kind"),
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

  /** Why a key may act as none of these kinds; undefined: it may. */
  refuses(publicKey: string | undefined, kinds: readonly BusKind[]): string | undefined {
    const key = publicKey === undefined ? undefined : this.#byKey.get(publicKey);
    if (key === undefined) return "its key is not listed";
    if (key.revoked !== undefined) return "its key is revoked";
    if (kinds.some((kind) => mayPlay(key, kind))) return undefined;
    return `its key is listed for ${key.kinds.join(", ")}, not for ${kinds.join(", ")}`;
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
  throw keyError(path, `is no allow list:\n${z.prettifyError(parsed.error)}`);
}
