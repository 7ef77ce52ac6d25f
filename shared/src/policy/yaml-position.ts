import { isAlias, isMap, isNode, isScalar, isSeq, type Document, type Node } from "yaml";
import { reasonGroupOf } from "./rules.ts";

export type YamlPath = (string | number)[];

/**
 * The offset in the source of what a path leads to, or of the nearest thing above it. `atKey`: of
 * the key itself instead of its value.
 */
export function positionOf(tree: Document, path: YamlPath, atKey: boolean): number {
  let node: unknown = tree.contents;
  let offset = startOf(node) ?? 0;
  for (const [depth, step] of path.entries()) {
    const found = child(tree, node, step);
    if (found === undefined) break;
    const isLast = depth === path.length - 1;
    offset = startOf(isLast && atKey ? found.key : found.value) ?? startOf(found.key) ?? offset;
    node = found.value;
  }
  return offset;
}

function child(tree: Document, from: unknown, step: string | number) {
  const node = isAlias(from) ? from.resolve(tree) : from;
  if (isSeq(node) && typeof step === "number") {
    const value: unknown = node.items[step];
    return value === undefined ? undefined : { key: value, value };
  }
  if (!isMap(node)) return undefined;
  const named = (name: string) =>
    node.items.find(({ key }) => isScalar(key) && String(key.value) === name);
  const name = String(step);
  return named(name) ?? named(reasonGroupOf(name) ?? name);
}

/** A node without text of its own (an empty value) has no position. */
function startOf(node: unknown): number | undefined {
  if (!isNode(node)) return undefined;
  const { range } = node as Node;
  return range == null || range[0] === range[1] ? undefined : range[0];
}
