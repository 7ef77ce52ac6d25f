import { workerServices } from "@rs-agent/shared/checks/built-in-checks.ts";

/** In the order in which they drain: first nothing new comes in, then what is in flight ends. */
export const serviceNames = ["ingest", "dispatcher", ...workerServices, "relay"] as const;
export type ServiceName = (typeof serviceNames)[number];
