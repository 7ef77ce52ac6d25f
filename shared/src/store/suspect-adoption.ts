import { setTimeout as pause } from "node:timers/promises";
import { RetryableError } from "../errors.ts";
import {
  noteTiming,
  suspectsOf,
  whyPoison,
  type AdoptionNotes,
  type Unended,
} from "./adoption-notes.ts";
import {
  adoptAndMark,
  buryAndMark,
  notAdopted,
  type Adopter,
  type AdoptionOptions,
  type AdoptionPass,
} from "./adoption-pass.ts";
import type { Adopted } from "./adoption.ts";

/** Adopts suspects, one after the other; poison becomes a dead letter (adoption-notes.ts). */
export async function adoptSuspects(
  adopter: Adopter,
  options: Omit<AdoptionOptions, "limit">,
  signal: AbortSignal,
): Promise<AdoptionPass> {
  const { notes } = adopter;
  const pass = { adopted: 0, dead: 0, more: false };
  const count = (ended: Adopted | undefined) => {
    if (ended !== undefined && ended.kind !== "pending") pass[ended.kind] += 1;
  };
  try {
    const suspects = await waitingSuspects(adopter);
    for (const suspect of suspects) {
      if (whyPoison(suspect) !== undefined) continue;
      if (signal.aborted || !options.goOn()) return { ...pass, more: true };
      count(await adoptSuspect(adopter, suspect, options));
    }
    if (!suspects.some(whyPoison)) return pass;
    // Nobody is a dead letter for adopters who only could not say in time that they live.
    await pause(noteTiming.grace, undefined, { signal }).catch(() => undefined);
    for (const suspect of await waitingSuspects(adopter)) {
      const why = whyPoison(suspect);
      if (signal.aborted || why === undefined) pass.more = true;
      else count(await buryPoison(adopter, suspect, why));
    }
    return pass;
  } finally {
    await takeBack(notes, signal);
  }
}

/** What is a mail by now is no longer suspect. */
async function waitingSuspects(adopter: Adopter): Promise<Unended[]> {
  const { source, notes } = adopter;
  const suspects = suspectsOf(await notes.standing(source));
  const waiting = await notAdopted(adopter, suspects);
  const others = suspects.filter((suspect) => !waiting.includes(suspect));
  await notes.forget(
    source,
    others.map(({ id }) => id),
  );
  return waiting;
}

/** Undefined: it no longer waits. */
async function adoptSuspect(
  adopter: Adopter,
  { id, mailId, ended }: Unended,
  options: Omit<AdoptionOptions, "limit">,
): Promise<Adopted | undefined> {
  const { deps, source, notes, records } = adopter;
  deps.log.warn({ source: source.name, mailId, unended: ended }, "suspect record taken alone");
  let adopted: Adopted | undefined;
  const note = notes.open(source, { ...options, alone: true });
  try {
    await note.set([id]);
    for await (const document of records.read([id]))
      adopted = await adoptAndMark(adopter, document, options);
  } finally {
    await note.end();
  }
  await notes.forget(source, [id]);
  return adopted;
}

async function buryPoison(adopter: Adopter, { id }: Unended, why: string): Promise<Adopted> {
  const dead = await buryAndMark(adopter, id, why);
  await adopter.notes.forget(adopter.source, [id]);
  return dead;
}

/** Until it is done: what ended well must not look like a death. */
async function takeBack(notes: AdoptionNotes, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await notes.takeBack();
      return;
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error;
      await pause(noteTiming.retry, undefined, { signal }).catch(() => undefined);
    }
  }
}
