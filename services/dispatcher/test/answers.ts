import { sha256Hex } from "@rs-agent/shared/ids.ts";
import type { BuiltInCheck } from "@rs-agent/shared/checks/built-in-checks.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { TaskMail, TaskOutput } from "@rs-agent/shared/worker/handler.ts";

export const answers: Record<BuiltInCheck | "enrich", TaskOutput> = {
  virus: { output: { kind: "clean" } },
  spam: { output: { kind: "ham", score: 0, required: 5, rules: [] } },
  enrich: { output: { kind: "unable", reason: "not asked for in this test" } },
};

/** An enricher that adds one header field. */
export function answerOf(kind: TaskKind, mail: TaskMail): TaskOutput {
  if (kind !== "enrich" || mail.kind !== "bytes")
    return kind in answers ? answers[kind as BuiltInCheck] : { output: { kind: "passed" } };
  const block = Buffer.from("X-Test: yes\r\n");
  const bytes = Buffer.concat([block, mail.bytes]);
  return {
    output: {
      kind: "enriched",
      bodyChanged: false,
      restOffset: 0,
      sha256: sha256Hex(bytes),
      size: bytes.length,
      notes: [],
    },
    bytes: block,
  };
}
