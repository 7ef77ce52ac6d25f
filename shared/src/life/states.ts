import { z } from "zod";
import { finalOutcomes } from "./outcomes.ts";

/** States in which a service works on the mail, or will. */
export const workedStates = ["incoming", "processing", "ready", "relaying"] as const;
/** States in which a mail waits for somebody: a service or a person. */
export const waitingStates = [...workedStates, "held"] as const;
/** States in which nothing more happens by itself. A `split` mail's parts carry its recipients on. */
const finalStates = [...finalOutcomes, "split"] as const;
export const mailStates = [...waitingStates, ...finalStates] as const;

export const mailStateSchema = z.enum(mailStates);
export type MailState = (typeof mailStates)[number];

/** Whether nothing more happens by itself. */
export function isFinal(state: MailState): boolean {
  return finalStates.some((final) => final === state);
}
