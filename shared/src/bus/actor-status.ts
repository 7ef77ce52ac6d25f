import { z } from "zod";
import { engineSchema } from "../checks/finding.ts";
import { taskKindSchema } from "../checks/verdict.ts";
import { creditSchema } from "./wire.ts";

/**
 * What services say of themselves and others read: the services' types are held to this by the
 * compiler, and who reads it (`status`, `doctor`, `explain`) parses it by this. What is optional a release before did
 * not say.
 */

const workerStatusSchema = z.object({
  id: z.string(),
  kind: taskKindSchema,
  mailbox: z.string(),
  incarnation: z.string().optional(),
  state: z.string(),
  unable: z.string().nullish(),
  engine: engineSchema.nullish(),
  spools: z.array(z.string()).readonly().optional(),
  grant: creditSchema,
  free: creditSchema.optional(),
  outstanding: creditSchema,
  started: z.number().optional(),
  heardAgoMs: z.number().optional(),
});
export type WorkerStatus = z.output<typeof workerStatusSchema>;

/** How much there is to do of one kind of task, as a dispatcher has added it up. */
const kindDemandSchema = z.object({
  wanted: z.number(),
  waiting: z.number(),
  arrivalsPerSecond: z.number(),
  serviceMs: z.number().nullish(),
  atOnce: z.number().nullish(),
});
export type KindDemandStatus = z.output<typeof kindDemandSchema>;

export const demandStatusSchema = z.object({
  at: z.date(),
  kinds: z.partialRecord(taskKindSchema, kindDemandSchema),
});

export const dispatcherStatusSchema = z.object({
  heldMails: z.number(),
  workers: z.array(workerStatusSchema),
  timerOnlyMails: z.number().optional(),
});

const routeStatusSchema = z.object({
  route: z.string(),
  heldMails: z.number(),
  openSessions: z.number(),
  failure: z.string().nullish(),
});
export type RouteStatus = z.output<typeof routeStatusSchema>;

export const relayStatusSchema = z.object({
  routes: z.array(routeStatusSchema).readonly(),
  /** That tell it what waits. */
  dispatchers: z.number().optional(),
});

/** An ingest that puts new mail off, because too much of it waits. */
export const overloadStatusSchema = z.object({
  since: z.date(),
  waiting: z.number(),
  oldestMs: z.number(),
});
export type OverloadStatus = z.output<typeof overloadStatusSchema>;

export type DispatcherReport = z.input<typeof dispatcherStatusSchema> & {
  demand: z.input<typeof demandStatusSchema> | undefined;
};
export type RelayReport = z.input<typeof relayStatusSchema>;
export interface IngestReport {
  overload: OverloadStatus | undefined;
}
