import { z } from "zod";
import { TerminalError } from "../errors.ts";

/** A collection into which others put mail (docs/records.md, "Mail that others put into MongoDB"). */
export const sourceConfigSchema = z.strictObject({
  /** Stands in the mail's origin and in its derived id: it must not change while records are there. */
  name: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
  db: z.string().min(1).max(63),
  collection: z.string().min(1).max(200),
  /** The GridFS bucket of the bodies. */
  bucket: z.string().min(1).max(200).default("fs"),
  form: z.enum(["native", "mongo-mail-server"]),
  /** `scan-only`: the mail is checked and never relayed, since it was delivered before. */
  mode: z.enum(["deliver", "scan-only"]),
  /** True where we may write into the record that it was adopted; false: nothing of it is touched. */
  mark: z.boolean().default(true),
  /** Mail of this source counts as handed in by a listener for outgoing mail. */
  outgoing: z.boolean().default(false),
});
export type SourceConfig = z.output<typeof sourceConfigSchema>;

/** The names under which mongo-mail-server stores by default. */
const formDefaults: Record<string, { db: string; collection: string } | undefined> = {
  "mongo-mail-server": { db: "message", collection: "message" },
};

const sourceListSchema = z.array(
  z.preprocess((value) => {
    if (typeof value !== "object" || value === null || !("form" in value)) return value;
    return { ...formDefaults[String(value.form)], ...value };
  }, sourceConfigSchema),
);

/**
 * Reads the setting SOURCES: a JSON list of sources.
 * @throws TerminalError CFG_INVALID naming each wrong field
 */
export function parseSources(json: string): SourceConfig[] {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new TerminalError("CFG_INVALID", "SOURCES is not JSON", { cause: error });
  }
  const parsed = sourceListSchema.safeParse(value);
  if (!parsed.success)
    throw new TerminalError("CFG_INVALID", `SOURCES is wrong:\n${z.prettifyError(parsed.error)}`);
  const names = parsed.data.map(({ name }) => name);
  if (new Set(names).size < names.length)
    throw new TerminalError("CFG_INVALID", "SOURCES has two sources of one name");
  return parsed.data;
}
