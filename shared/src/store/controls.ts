import type { Db } from "mongodb";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { collectionOf, reach } from "./connection.ts";
import { upserting } from "./inserts.ts";

/** Steps that a person can pause. */
export const pausableSteps = ["plan", "virus", "spam", "enrich", "relay"] as const;
export type PausableStep = (typeof pausableSteps)[number];

const pauseSchema = z.looseObject({
  step: z.enum(pausableSteps),
  by: z.string(),
  at: z.date(),
});
export type Pause = z.output<typeof pauseSchema>;

/** A person's `pause` and `resume`, read by dispatchers and relays on their timers. */
export interface ControlStore {
  /** The steps that are paused now. */
  paused(): Promise<PausableStep[]>;
  /** The same with who paused them and when. */
  pauses(): Promise<Pause[]>;
  pause(step: PausableStep, by: string): Promise<void>;
  resume(step: PausableStep): Promise<void>;
}

const pausesId = "pauses";

export function createControlStore(db: Db, clock: Clock): ControlStore {
  const controls = collectionOf(db, "controls");
  const pauses = () =>
    reach(async () => {
      const document = await controls.findOne({ _id: pausesId });
      const steps: unknown = document?.steps ?? {};
      const entries = typeof steps === "object" && steps !== null ? Object.values(steps) : [];
      return entries.flatMap((entry) => {
        const parsed = pauseSchema.safeParse(entry);
        return parsed.success ? [parsed.data] : [];
      });
    });
  return {
    pauses,
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
