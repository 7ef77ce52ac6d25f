import { z } from "zod";
import { TerminalError } from "../errors.ts";
import { networkSchema } from "../policy/networks.ts";

/** A collection into which others put mail (docs/records.md, "Mail that others put into MongoDB"). */
export const sourceConfigSchema = z
  .strictObject({
    /** Is in the mail's origin and in its derived id: it must not change while records are there. */
    name: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
    db: z.string().min(1).max(63),
    collection: z.string().min(1).max(200),
    /** The GridFS bucket of the bodies. */
    bucket: z.string().min(1).max(200).default("fs"),
    form: z.enum(["native", "mongo-mail-server"]),
    /** `scan-only`: the mail is checked and never relayed, since it was delivered before. */
    mode: z.enum(["deliver", "scan-only"]),
    /** True if we may write into the record that it was adopted; false: nothing of it is touched. */
    mark: z.boolean().default(true),
    /** All mail of this source is outgoing, and `tenant`'s, from any client. */
    outgoing: z.boolean().default(false),
    /** Clients whose mail is outgoing, if the record may be believed about its client. */
    networks: z.array(networkSchema).max(1_000).default([]),
    /** Whose mail the outgoing mail is; without it, that of the tenant in whose networks the client is. */
    tenant: z.string().min(1).max(128).optional(),
    /** mongo-mail-server's clients whose XFORWARD is believed: it takes that from anybody. */
    xforwardPeers: z.array(networkSchema).max(1_000).default([]),
  })
  .superRefine(({ form, outgoing, tenant, networks, xforwardPeers }, context) => {
    const wrong = (path: string, message: string) =>
      context.addIssue({ code: "custom", path: [path], message });
    if (outgoing && tenant === undefined)
      wrong("outgoing", "needs the tenant whose mail it is; or name the networks of its clients");
    if (tenant !== undefined && !outgoing && networks.length === 0)
      wrong("tenant", "is for outgoing mail: add outgoing: true, or networks");
    if (form === "native" && xforwardPeers.length > 0)
      wrong("xforwardPeers", "is for mongo-mail-server");
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
