import * as fc from "fast-check";
import { merged, type MailChange } from "../../src/life/change.ts";
import { verdict } from "./mails.ts";

const at = new Date(0);
/** Some of them read like a database expression. */
const text = fc.oneof(fc.string(), fc.constantFrom("$x@y", "$$ROOT", "$reason", ""));
const timing = fc.record({ queueMs: fc.nat(), workMs: fc.nat() });
/** Any form that a step of a mail's life may have. */
export const someChange: fc.Arbitrary<MailChange> = fc
  .record(
    {
      set: fc.record(
        { next: text, reason: text, strikes: fc.nat(), dueAt: fc.constant(at) },
        { requiredKeys: [] },
      ),
      unset: fc.uniqueArray(fc.constantFrom("next", "reason", "strikes", "unended", "heldUntil")),
      verdicts: fc.record(
        { virus: fc.constant(verdict), spam: fc.constant(verdict as never) },
        { requiredKeys: [] },
      ),
      timings: fc.record({ virus: timing, relay: timing }, { requiredKeys: [] }),
      history: fc.array(
        fc.record({ at: fc.constant(at), event: fc.constantFrom("strike", "planned") }),
        { maxLength: 40 },
      ),
    },
    { requiredKeys: [] },
  )
  .map((change) => merged({}, change as MailChange));
