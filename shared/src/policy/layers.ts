import { BoundedMap } from "../bounded-map.ts";
import { builtInRules } from "./built-in.ts";
import { laidOver, type LayeredRules } from "./complete-rules.ts";
import type { PolicyDocument } from "./document.ts";
import type { Direction } from "../mail/plan.ts";

/**
 * The rules of documents over one another, most general first, the built-in ones below them. Asked
 * of documents of one policy, where the same ones are always under a document.
 */
export type Layers = (documents: readonly PolicyDocument[], direction: Direction) => LayeredRules;

/** Documents whose rules are kept at hand; most lie over the same few. */
const maxLayers = 5_000;

/** `nextHop`: `host:port`, where mail goes whose policy names none. */
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
