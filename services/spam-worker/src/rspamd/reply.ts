import { z } from "zod";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { fieldNameSchema } from "@rs-agent/shared/mail/task-settings.ts";
import type { ProposedField } from "@rs-agent/shared/checks/spam.ts";
import type { HttpReply } from "./exchange.ts";

const symbolSchema = z.looseObject({ score: z.number() });

const action = z.enum([
  "no action",
  "greylist",
  "add header",
  "rewrite subject",
  "soft reject",
  "reject",
  "quarantine",
  "discard",
]);
export type Action = z.output<typeof action>;

/**
 * What `checkv2` answers: https://rspamd.com/doc/developers/protocol.html. JSON has no NaN, so NaN
 * is null.
 */
const replySchema = z.looseObject({
  /**
   * Rules were left out, by a setting of rspamd's own or because it knew the mail immediately
   * (GTUBE).
   */
  is_skipped: z.boolean(),
  score: z.number(),
  /** The points of the hardest action that has points, usually `reject`. */
  required_score: z.number().nullish(),
  action,
  /** The points at which each action is taken; an action without points is absent. */
  thresholds: z.record(z.string(), z.number().nullable()).optional(),
  symbols: z.record(z.string(), symbolSchema),
  /** Seconds. */
  time_real: z.number().nonnegative().optional(),
  messages: z.looseObject({ smtp_message: z.string().optional() }).optional().catch(undefined),
  /** The module that decided the action, whatever the points are. */
  passthrough_module: z.string().optional().catch(undefined),
  milter: z.looseObject({ add_headers: z.unknown() }).optional().catch(undefined),
});
export type CheckReply = z.output<typeof replySchema>;

const errorSchema = z.looseObject({ error: z.string() });

export type Reading =
  | { kind: "reply"; reply: CheckReply }
  /** rspamd says that it could not check the mail. */
  | { kind: "refused"; detail: string }
  /** Of no known form: it says nothing about any mail. */
  | { kind: "garbled"; detail: string };

/**
 * Reads the answer to `checkv2`, which counts only with status 200 and if every part has its known
 * form.
 */
export function readReply({ status, body }: Pick<HttpReply, "status" | "body">): Reading {
  const text = body.toString("utf8");
  const json = parsed(text);
  const error = errorSchema.safeParse(json);
  if (error.success) return { kind: "refused", detail: error.data.error.slice(0, 300) };
  if (status !== 200) return { kind: "refused", detail: shown(text) };
  if (json === undefined) return { kind: "garbled", detail: `no JSON: ${shown(text)}` };
  const reply = replySchema.safeParse(json);
  if (reply.success) return { kind: "reply", reply: reply.data };
  const [issue] = reply.error.issues;
  return { kind: "garbled", detail: `${issue?.path.join(".") ?? ""}: ${messageOf(issue)}` };
}

const maxProposed = 20;
const maxValue = 900;
const valueSchema = z.union([z.string(), z.looseObject({ value: z.string() })]);

/**
 * The header fields that rspamd would have a milter add (`milter.add_headers`), as data: bounded,
 * well-formed, each on one line. Anything else is left out.
 */
export function proposedFields({ milter }: CheckReply): ProposedField[] {
  const given = z.record(z.string(), z.unknown()).safeParse(milter?.add_headers);
  if (!given.success) return [];
  const fields = Object.entries(given.data).flatMap(([name, values]) =>
    [values].flat().flatMap((entry) => {
      const value = valueSchema.safeParse(entry);
      if (!fieldNameSchema.safeParse(name).success || !value.success) return [];
      const text = typeof value.data === "string" ? value.data : value.data.value;
      return [
        {
          name,
          value: text
            .slice(0, maxValue)
            .replace(/[\x00-\x1f\x7f]+/g, " ")
            .trim(),
        },
      ];
    }),
  );
  return fields.slice(0, maxProposed);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 120));
}
