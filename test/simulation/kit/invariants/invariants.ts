import type { Entry } from "../database/replica-set.ts";
import { inbox } from "../records.ts";
import type { World } from "../world.ts";
import { Adoption } from "./adoption.ts";
import { Conservation } from "./conservation.ts";
import { Deliveries } from "./deliveries.ts";
import { Fates } from "./fates.ts";
import { Leases } from "./leases.ts";
import { Readiness } from "./readiness.ts";
import { mailOf, rememberPlan, shownWrite } from "./records.ts";
import { Works } from "./works.ts";

/** A broken promise of docs/invariants.md. */
export interface Violation {
  /** `I1` … `I12`; `poison`, `fate`, or `bug` for an unhandled error. */
  invariant: string;
  mailId: string | undefined;
  text: string;
}

/**
 * Looks at every write as it is applied and as the majority gets it, at every byte that goes to a
 * hop and at all work of engines, and compares them with what was promised and with the truth.
 */
export class Invariants {
  readonly adoption: Adoption;
  readonly leases: Leases;
  readonly works: Works;
  readonly deliveries: Deliveries;
  readonly conservation: Conservation;
  readonly #world: World;
  readonly #readiness: Readiness;
  readonly #fates: Fates;
  /** By their hashes, all that the majority has had. */
  readonly #plans = new Set<string>();

  constructor(world: World) {
    this.#world = world;
    this.adoption = new Adoption(world);
    this.leases = new Leases(world);
    this.works = new Works(world, this.leases);
    this.deliveries = new Deliveries(world, this.leases);
    this.conservation = new Conservation(world, this.deliveries);
    this.#readiness = new Readiness(world);
    this.#fates = new Fates(world, this.deliveries, this.works);
    world.set.onApplied = (entry) => {
      if (entry.collection === "mails") this.#onApplied(entry);
      if (entry.collection === "plans" && entry.after !== undefined) rememberPlan(entry.after);
      if (entry.collection === inbox) this.adoption.onRecordWrite(entry);
      if (entry.collection === "bodies" && entry.kind === "insert") {
        world.onBody(world.rawOf(entry.id));
      }
      if (entry.collection === "bodies" && entry.kind === "delete") {
        this.conservation.onBodyRemoved(entry.id);
      }
    };
    world.set.onCommitted = (entry) => {
      if (entry.collection === "mails") this.conservation.onCommitted(entry);
      if (entry.collection === "plans") this.#plans.add(entry.id);
    };
    world.set.onRolledBack = (entry) => {
      if (entry.collection !== "mails") return;
      world.note("and that never happened", entry.id);
      this.leases.onRolledBack(entry);
    };
  }

  /** Everything has come to its end. */
  atEnd(): void {
    this.adoption.atEnd();
    this.conservation.atEnd();
    this.#fates.atEnd();
  }

  #onApplied(entry: Entry): void {
    const { id, by } = entry;
    const { trace } = this.#world;
    const before = entry.before && mailOf(entry.before);
    const after = entry.after && mailOf(entry.after);
    trace.note(by?.name ?? "schedule", [id], () => shownWrite(entry));
    if (after?.planRef !== undefined && !this.#plans.has(after.planRef.hash)) {
      this.#world.violate({
        invariant: "plan",
        mailId: id,
        text: "its plan was not durable first",
      });
    }
    if (after === undefined) {
      this.#world.violate({ invariant: "I1", mailId: id, text: "a mail was removed" });
    } else if (before === undefined) {
      this.leases.onInserted(after);
    } else {
      this.leases.onWrite(entry, before, after);
      this.conservation.onWrite(entry, before, after);
      this.works.onWrite(entry, before, after);
      this.#readiness.onWrite(before, after);
    }
  }
}
