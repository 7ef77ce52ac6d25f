import { serviceNames, type ServiceName } from "@rs-agent/kit/system/service-names.ts";
import { cuttableLinks, partNames, type LinkName, type PartName } from "../parts/chaos-system.ts";
import { dealt, randomOf, type Random } from "@rs-agent/kit/random.ts";

/** One thing that goes wrong. `nth`: which of a service's processes, from 0. */
export type Fault =
  | { kind: "kill" | "drain"; service: ServiceName; nth: number }
  | { kind: "stop"; service: ServiceName; nth: number; forMs: number }
  | { kind: "kill-part"; part: PartName; downMs: number }
  | { kind: "stop-part"; part: PartName; forMs: number }
  | { kind: "stall" | "refuse"; link: LinkName; forMs: number }
  | { kind: "reset"; link: LinkName }
  | { kind: "half-close"; link: LinkName; side: "near" | "far" };
export type FaultKind = Fault["kind"];

const shares: Readonly<Record<FaultKind, number>> = {
  kill: 44,
  stop: 12,
  drain: 10,
  "kill-part": 14,
  "stop-part": 4,
  stall: 5,
  refuse: 4,
  reset: 4,
  "half-close": 3,
};
/** Services that hold leases and connections die most often. */
const services = Object.fromEntries(
  serviceNames.map((name) => [name, name === "dispatcher" || name === "relay" ? 3 : 2]),
) as Record<ServiceName, number>;
const parts: Readonly<Record<PartName, number>> = {
  database: 4,
  clamd: 2,
  "clamd-2": 2,
  spamd: 2,
  "spam-engine": 3,
};

/** All faults of a run in order; the same for the same seed and number. */
export function scheduleOf(seed: number, count: number): Fault[] {
  const random = randomOf(seed, "faults");
  const kinds = dealt(shares, count);
  const ofServices = deck(services, serviceNames, kinds, ["kill", "stop", "drain"], random);
  const ofParts = deck(parts, partNames, kinds, ["kill-part", "stop-part"], random);
  return random.shuffled(kinds).map((kind) => faultOf(kind, random, ofServices, ofParts));
}

/** Names for the faults of these kinds, each as often as its weight demands, in random order. */
function deck<T extends string>(
  weights: Readonly<Record<T, number>>,
  names: readonly T[],
  kinds: readonly FaultKind[],
  of: readonly FaultKind[],
  random: Random,
): () => T {
  const count = kinds.filter((kind) => of.includes(kind)).length;
  const left = random.shuffled(dealt(weights, count));
  return () => left.pop() ?? (random.pick(names) as T);
}

function faultOf(
  kind: FaultKind,
  random: Random,
  service: () => ServiceName,
  part: () => PartName,
): Fault {
  const nth = random.between(0, 1);
  const link = () => random.pick(cuttableLinks);
  switch (kind) {
    case "kill":
    case "drain":
      return { kind, service: service(), nth };
    case "stop":
      // Some shorter than the leases (3 s, 5 s), some longer, and some longer than the bus waits
      // (10 s).
      return { kind, service: service(), nth, forMs: random.between(500, 12_000) };
    case "kill-part":
      return { kind, part: part(), downMs: random.between(0, 4_000) };
    case "stop-part":
      return { kind, part: part(), forMs: random.between(500, 6_000) };
    case "stall":
    case "refuse":
      return { kind, link: link(), forMs: random.between(500, 8_000) };
    case "reset":
      return { kind, link: link() };
    case "half-close":
      return { kind, link: link(), side: random.chance(0.5) ? "near" : "far" };
  }
}

/** A relay dies or stops during a transaction, loses the hop, or cannot write what became of it. */
export function mayLeaveUnknown(fault: Fault): boolean {
  if ("service" in fault) return fault.service === "relay" && fault.kind !== "drain";
  if ("part" in fault) return fault.part === "database";
  return fault.link === "next-hop" || fault.link.startsWith("relay-database");
}

/** For counts and for a person: `kill relay`, `stall next-hop`. */
export function nameOf(fault: Fault): string {
  if ("service" in fault) return `${fault.kind} ${fault.service}`;
  if ("part" in fault) return `${fault.kind} ${fault.part}`;
  return `${fault.kind} ${fault.link}`;
}
