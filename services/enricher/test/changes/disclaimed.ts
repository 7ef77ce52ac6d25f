import { expect } from "vitest";
import type { Change } from "@rs-agent/shared/mail/task-settings.ts";
import { enriched, mailOf } from "../mail-to-enrich.ts";

type Disclaimer = Extract<Change, { kind: "disclaimer" }>;

export const plain: Disclaimer = { kind: "disclaimer", text: "-- \nTenant & Co" };
export const umlaut: Disclaimer = { kind: "disclaimer", text: "Grüße", html: "<b>Grüße</b>" };

export const typed = (...lines: string[]) => mailOf("From: a@b", "MIME-Version: 1.0", ...lines);

/** What becomes of a mail, and what its notes say. */
export async function disclaimed(raw: Buffer, change: Change = plain) {
  const { text, bodyChanged, notes, restOffset } = await enriched(raw, [change]);
  if (bodyChanged) expect(restOffset).toBe(0);
  return { text, bodyChanged, notes };
}

export async function expectUntouched(
  raw: Buffer,
  note: string,
  change: Change = plain,
): Promise<void> {
  const { text, bodyChanged, notes } = await disclaimed(raw, change);
  expect(text).toBe(raw.toString("latin1"));
  expect(bodyChanged).toBe(false);
  expect(notes).toEqual([`disclaimer skipped: ${note}`]);
}
