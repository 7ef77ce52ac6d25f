import { readFileSync } from "node:fs";
import type { ServiceName } from "@rs-agent/kit/system/service-names.ts";
import { poisonField } from "../mails/mail-bytes.ts";
import { victims, type Victim } from "../mails/planned-mail.ts";
import type { ChaosSystem, LinkName, PartName } from "../parts/chaos-system.ts";
import type { Look } from "../parts/link.ts";

/** One death by a poisoned mail. */
export interface PoisonDeath {
  victim: Victim;
  /** The number of the poisoned mail. */
  number: number;
  at: Date;
}

/** Where a victim gets mail: the link, the side from which mail comes, and who dies of it. */
interface Tripwire {
  victim: Victim;
  link: LinkName;
  from: "near" | "far";
  kill: { service: ServiceName; nth: number } | { part: PartName };
}

const restartAfterMs = 300;
/** Longer than field, name and number together, and longer than a command with a path. */
const tailBytes = 512;
const field = Buffer.from(poisonField, "latin1");
const victimAndNumber = new RegExp(`${poisonField}: ([a-z-]+) (\\d+);`, "g");
const scanOfFile = /zSCAN ([^\0]+)\0/g;

const tripwires: readonly Tripwire[] = [
  ...bothOf("dispatcher", ["dispatcher-database", "dispatcher-database-2"], "far"),
  ...bothOf("relay", ["relay-database", "relay-database-2"], "far"),
  ...bothOf("enricher", ["tasks-enricher", "tasks-enricher-2"], "near"),
  ...bothOf("av-worker", ["clamd", "clamd-2"], "near"),
  ...bothOf("spam-worker", ["spam-engine", "spamd"], "near"),
  ...engines("clamd", ["clamd", "clamd-2"]),
  ...engines("spam-engine", ["spam-engine", "spamd"]),
];

function bothOf(
  service: ServiceName & Victim,
  links: readonly [LinkName, LinkName],
  from: Tripwire["from"],
): Tripwire[] {
  return links.map((link, nth) => ({ victim: service, link, from, kill: { service, nth } }));
}

/** The engine behind the link of the same name. */
function engines(victim: Victim, names: readonly (PartName & LinkName)[]): Tripwire[] {
  return names.map((name) => ({ victim, link: name, from: "near", kill: { part: name } }));
}

/**
 * Makes poisoned mail kill its victims: a process that gets its bytes over a link dies before it
 * can do anything with them, each time. `onDeath` is told about each death.
 */
export function layTripwires(
  { links, parts, services }: ChaosSystem,
  onDeath: (death: PoisonDeath) => void,
): void {
  const kill = (victim: Tripwire["kill"]): boolean => {
    if ("service" in victim) {
      return services.kill(victim.service, "SIGKILL", victim.nth) !== undefined;
    }
    const part = parts[victim.part];
    if (part.pid === undefined) return false;
    void part.killAndRestart(restartAfterMs);
    return true;
  };
  for (const link of new Set(tripwires.map((each) => each.link))) {
    for (const from of ["near", "far"] as const) {
      const here = tripwires.filter((each) => each.link === link && each.from === from);
      if (here.length === 0) continue;
      links[link].watch(from, () =>
        poisonIn((victim, number) => {
          const wire = here.find((each) => each.victim === victim);
          if (wire !== undefined && kill(wire.kill)) onDeath({ victim, number, at: new Date() });
        }),
      );
    }
  }
}

/** Reports each poisoned mail in a stream, even if its mark spans two pieces. */
function poisonIn(onPoison: (victim: Victim, number: number) => void): Look {
  let tail = Buffer.alloc(0);
  return (piece) => {
    const bytes = Buffer.concat([tail, piece]);
    tail = bytes.subarray(-tailBytes);
    const seen = Buffer.concat([bytes, ...filesScannedBy(bytes)]);
    if (!seen.includes(field)) return;
    for (const [, name, number] of seen.toString("latin1").matchAll(victimAndNumber)) {
      const victim = victims.find((each) => each === name);
      if (victim !== undefined) onPoison(victim, Number(number));
    }
    // Once is enough: the rest must not count as another.
    tail = Buffer.alloc(0);
  };
}

/** Where clamd shares the dispatcher's disk, it is told the mail's path instead of its content. */
function filesScannedBy(commands: Buffer): Buffer[] {
  if (!commands.includes("zSCAN ")) return [];
  return [...commands.toString("latin1").matchAll(scanOfFile)].map(([, path = ""]) => {
    try {
      return readFileSync(path);
    } catch {
      // Removed meanwhile: clamd will not find it either.
      return Buffer.alloc(0);
    }
  });
}
