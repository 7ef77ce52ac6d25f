import type { Db } from "mongodb";
import { z } from "zod";
import { ownCheckIn, ownCheckSchema, type OwnCheck } from "../checks/own-check.ts";
import { builtInTasks } from "../checks/verdict.ts";
import type { Clock } from "../clock.ts";
import { collectionOf, reach, type StoredDocument } from "./connection.ts";
import { upserting } from "./inserts.ts";

/** Steps that a person can pause, beside the checks that a policy brings. */
export const pausableSteps = ["adopt", "plan", ...builtInTasks, "relay"] as const;
export type PausableStep = (typeof pausableSteps)[number] | OwnCheck;
export const pausableStepSchema = z.union([z.enum(pausableSteps), ownCheckSchema]);

const pauseSchema = z.looseObject({
  step: pausableStepSchema,
  by: z.string(),
  at: z.date(),
});
export type Pause = z.output<typeof pauseSchema>;

/** A person's `pause` and `resume`, read by dispatchers and relays on their timers. */
export interface ControlStore {
  /** The steps that are paused now. */
  paused(): Promise<PausableStep[]>;
  /** The same, and every check of their own that policies have ever brought: mail may wait for each. */
  all(): Promise<{ paused: PausableStep[]; ownChecks: OwnCheck[] }>;
  /** The same with who paused them and when. */
  pauses(): Promise<Pause[]>;
  pause(step: PausableStep, by: string): Promise<void>;
  resume(step: PausableStep): Promise<void>;
  /** To be done before a mail is planned with one of them. */
  addOwnChecks(names: readonly OwnCheck[]): Promise<void>;
}

const pausesId = "pauses";
const ownChecksId = "own-checks";
const namesSchema = z.looseObject({ names: z.record(z.string(), z.unknown()) });

export function createControlStore(db: Db, clock: Clock): ControlStore {
  const controls = collectionOf(db, "controls");
  const pauses = () => reach(async () => pausesIn(await controls.findOne({ _id: pausesId })));
  return {
    pauses,
    all: () =>
      reach(async () => {
        const found = await controls.find({ _id: { $in: [pausesId, ownChecksId] } }).toArray();
        const of = (id: string) => found.find(({ _id }) => _id === id) ?? null;
        const paused = pausesIn(of(pausesId)).map(({ step }) => step);
        return { paused, ownChecks: ownChecksIn(of(ownChecksId)) };
      }),
    addOwnChecks: (names) =>
      reach(async () => {
        const set = Object.fromEntries(names.map((name) => [`names.${name}`, true]));
        await upserting(() =>
          controls.updateOne({ _id: ownChecksId }, { $set: set }, { upsert: true }),
        );
      }),
    paused: async () => (await pauses()).map(({ step }) => step),
    pause: (step, by) =>
      reach(async () => {
        const set = { [`steps.${step}`]: { step, by, at: clock.now() } };
        await upserting(() =>
          controls.updateOne({ _id: pausesId }, { $set: set }, { upsert: true }),
        );
      }),
    resume: (step) =>
      reach(async () => {
        await controls.updateOne({ _id: pausesId }, { $unset: { [`steps.${step}`]: "" } });
      }),
  };
}

function pausesIn(document: StoredDocument | null): Pause[] {
  const steps: unknown = document?.steps ?? {};
  const entries = typeof steps === "object" && steps !== null ? Object.values(steps) : [];
  return entries.flatMap((entry) => {
    const parsed = pauseSchema.safeParse(entry);
    return parsed.success ? [parsed.data] : [];
  });
}

function ownChecksIn(document: StoredDocument | null): OwnCheck[] {
  const parsed = namesSchema.safeParse(document);
  return Object.keys(parsed.data?.names ?? {}).flatMap((name) => ownCheckIn(name) ?? []);
}
