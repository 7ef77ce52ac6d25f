import { BoundedMap } from "../bounded-map.ts";
import { builtInRules } from "./built-in.ts";
import { laidOver, type LayeredRules } from "./complete-rules.ts";
import type { PolicyDocument } from "./document.ts";
import type { Direction } from "../mail/plan.ts";

/**
 * The rules of documents laid over one another, most general first, over the built-in ones. All
 * documents must be of one policy, in which the same ones always lie under a document.
 */
export type Layers = (documents: readonly PolicyDocument[], direction: Direction) => LayeredRules;

/** How many documents' rules are kept; most lie over the same few. */
const maxLayers = 5_000;

/** `nextHop`: `host:port`, where mail goes if its policy names no next hop. */
export function createLayers(nextHop: string): Layers {
  const of = { incoming: layersOf("incoming", nextHop), outgoing: layersOf("outgoing", nextHop) };
  return (documents, direction) => of[direction](documents);
}

function layersOf(direction: Direction, nextHop: string) {
  const lowest = builtInRules(direction, nextHop);
  const known = new BoundedMap<PolicyDocument, LayeredRules>(maxLayers);
  const of = (documents: readonly PolicyDocument[]): LayeredRules => {
    const last = documents.at(-1);
    if (last === undefined) return lowest;
    const before = known.get(last);
    if (before !== undefined) return before;
    const rules = laidOver(of(documents.slice(0, -1)), last.rules, direction);
    known.set(last, rules);
    return rules;
  };
  return of;
}
