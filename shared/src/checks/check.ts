import type { z } from "zod";
import type { Disposition, UncheckedChoices } from "./consequence.ts";
import type { Engine, UncheckedFinding, UncheckedReason } from "./finding.ts";

/** A header field that tells about a verdict, unfolded. */
export type HeaderField = readonly [name: string, value: string];

/** One verdict as the header fields need it. */
export interface ToldVerdict<F> {
  finding: F;
  engine?: Engine | undefined;
  blind?: readonly string[] | undefined;
}

/** The part of a policy's rules that every check has, complete. */
export interface CheckRules {
  enabled: boolean;
  unchecked: UncheckedChoices;
}

/**
 * All of one check: what is asked, what may be found, what policy can make of that, and the words
 * for it. Everything else (wire, record, policy, dispatcher, enricher, CLI) goes through the
 * entries.
 * F is what may be found (`unchecked` is the same for all checks), S the settings of its task, R
 * its rules in a policy, C what a plan says follows from a finding, W its service.
 */
export interface Check<
  F extends object,
  S extends object,
  R extends object,
  C extends object,
  W extends string = string,
> {
  readonly name: string;
  /** The service that answers it; also the name that its key on the bus may play. */
  readonly service: W;
  /** What a task of it is given; it travels whole, and its hash comes back (I4). */
  readonly settings: z.ZodType<S>;
  readonly finding: z.ZodType<F | UncheckedFinding>;
  /** The rules that a policy may state besides `enabled` and `unchecked`, each optional. */
  readonly rules: { readonly [K in keyof R]-?: z.ZodType<R[K] | undefined> };
  /** What holds if no policy says otherwise. */
  readonly builtIn: R & CheckRules;
  /** What is wrong with rules that are each well-formed. */
  problemOf?(rules: R): { path: string; message: string } | undefined;
  settingsOf(rules: R): S;
  /** What follows from a finding, in a plan. */
  readonly consequences: { readonly [K in keyof C]-?: z.ZodType<C[K]> };
  consequencesOf(rules: R): C;
  /** A finding also holds the mail back under a policy that no longer asks for this check (I2). */
  readonly outlivesPolicy?: true;
  /** Whether it is a finding, by what policy says; by the engine's own word if no policy asks. */
  isFinding(found: F, asked: Partial<C> | undefined): boolean;
  /** What policy makes of a finding, and why, in words for a person. */
  ruleOn(found: F, asked: C | undefined): { disposition: Disposition; reason: string };
  /** The name by which a release overrides it. */
  nameOf(found: F): string;
  /** For `explain`. */
  wordsOf(found: F, asked: C | undefined): string;
  /** For `policy test`. */
  rulesText(asked: C): string;
  /** Tells the reader of the mail, and later filters, what was found. */
  headerFields(verdict: ToldVerdict<F>, asked: Partial<C>): HeaderField[];
  /** Says that there is no verdict, and why. */
  uncheckedField(reason: UncheckedReason): HeaderField;
}

/** Text that an engine or an author chose, without what would end a comment or a list. */
export function plainText(text: string): string {
  return text
    .replace(/[^\x21-\x7e]+/g, " ")
    .replace(/[(),\\]/g, "_")
    .trim();
}

/**
 * A name that somebody else chose. Non-ASCII characters stay, as encoded words; what would steer a
 * reader's terminal, end the comment or pose as an encoded word is replaced.
 */
export function headerName(name: string): string {
  const text = name
    .replace(/[\p{C}\p{Z}]+/gu, " ")
    .replace(/[(),\\]/g, "_")
    .replaceAll("=?", "=_")
    .trim();
  return text === "" ? "unnamed" : text;
}
