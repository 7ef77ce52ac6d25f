import { Refusal, setAt, stored, unsetAt, valueAt, type Doc, type Updated } from "./document.ts";

/** The part of MongoDB's aggregation language that our updates use. Anything unknown throws. */

type Fields = Record<string, unknown>;

/**
 * The document after an update with a pipeline.
 * @throws Refusal 40324 for an unknown stage, and what its expressions throw
 */
export function piped(doc: Doc, pipeline: readonly Fields[]): Updated {
  const next: Fields = { ...doc };
  const touched = new Set<string>();
  for (const stage of pipeline) {
    for (const [name, operand] of Object.entries(stage)) {
      if (name === "$set") {
        // All expressions of a stage see the document as it was before the stage.
        const before = { ...next };
        for (const [path, expression] of Object.entries(operand as Fields)) {
          const value = evaluated(expression, before);
          touched.add(path);
          if (value === undefined) unsetAt(next, path);
          else setAt(next, path, stored(value));
        }
      } else if (name === "$unset") {
        for (const path of [operand as string | string[]].flat()) {
          touched.delete(path);
          unsetAt(next, path);
        }
      } else throw new Refusal(40_324, `Unrecognized pipeline stage name: '${name}'`);
    }
  }
  const fields: Fields = {};
  for (const path of touched) {
    const value = valueAt(next, path);
    if (!isEqual(value, valueAt(doc, path))) fields[path] = value;
  }
  return { doc: next as Doc, fields };
}

function isEqual(one: unknown, other: unknown): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

/** The value of an expression; undefined is MongoDB's "missing". */
function evaluated(expression: unknown, doc: Fields): unknown {
  if (typeof expression === "string" && expression.startsWith("$")) {
    return valueAt(doc, expression.slice(1));
  }
  if (typeof expression !== "object" || expression === null || expression instanceof Date) {
    return expression;
  }
  if (Array.isArray(expression)) return expression.map((item) => evaluated(item, doc) ?? null);
  const [operator = "", operand] = Object.entries(expression)[0] ?? [];
  if (operator === "$literal") return operand;
  const [first, second] = [operand].flat().map((each) => evaluated(each, doc));
  switch (operator) {
    case "$arrayElemAt":
      if (first === undefined || first === null) return null;
      return listOf(first, operator).at(second as number);
    case "$indexOfArray":
      return listOf(first, operator).indexOf(second);
    case "$ifNull":
      return first ?? second;
    case "$add":
      if (typeof first !== "number") throw new Refusal(14, "$add only supports numeric types");
      return first + (second as number);
    case "$concatArrays":
      return [...listOf(first, operator), ...listOf(second, operator)];
    case "$slice":
      return listOf(first, operator).slice(second as number);
    default:
      throw new Refusal(168, `Unrecognized expression '${operator}'`);
  }
}

function listOf(value: unknown, operator: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Refusal(28_664, `${operator} only supports arrays`);
}
