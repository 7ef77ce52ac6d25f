/**
 * The part of MongoDB's query and update language that our stores use, over immutable documents.
 * Anything unknown throws: nothing is silently taken for true.
 */

export type Doc = Readonly<Record<string, unknown>> & { readonly _id: string };
type Fields = Record<string, unknown>;

/** A refusal with the server's error code. */
export class Refusal extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export function matches(doc: Fields, filter: Fields): boolean {
  for (const field in filter) {
    const wanted = filter[field];
    if (field === "$or") {
      if (!(wanted as Fields[]).some((branch) => matches(doc, branch))) return false;
    } else if (field === "$and") {
      if (!(wanted as Fields[]).every((branch) => matches(doc, branch))) return false;
    } else if (!fits(valueAt(doc, field), wanted)) return false;
  }
  return true;
}

/** The value at a dotted path. */
export function valueAt(doc: unknown, path: string): unknown {
  if (!path.includes(".")) return (doc as Fields)[path];
  let value: unknown = doc;
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Fields)[name];
  }
  return value;
}

function fits(value: unknown, wanted: unknown): boolean {
  if (!isOperators(wanted)) return same(value, wanted);
  for (const operator in wanted) if (!holds(value, operator, wanted[operator])) return false;
  return true;
}

function holds(value: unknown, operator: string, operand: unknown): boolean {
  switch (operator) {
    case "$in":
      return (operand as unknown[]).some((one) => same(value, one));
    case "$nin":
      return !(operand as unknown[]).some((one) => same(value, one));
    case "$eq":
      return same(value, operand);
    case "$ne":
      return !same(value, operand);
    case "$not":
      return !fits(value, operand);
    case "$exists":
      return (value !== undefined) === operand;
    case "$type":
      return [operand].flat().includes(value instanceof Date ? "date" : typeof value);
    case "$gt":
    case "$gte":
    case "$lt":
    case "$lte":
      return compares(value, operator, operand);
    default:
      throw new Refusal(2, `unknown operator: ${operator}`);
  }
}

/** Only values of one type are compared (type bracketing). */
function compares(value: unknown, operator: string, operand: unknown): boolean {
  const [a, b] = [ordered(value), ordered(operand)];
  if (a === undefined || b === undefined || typeof a !== typeof b) return false;
  if (operator === "$gt") return a > b;
  if (operator === "$gte") return a >= b;
  return operator === "$lt" ? a < b : a <= b;
}

export function ordered(value: unknown): number | string | undefined {
  if (value instanceof Date) return value.getTime();
  return typeof value === "number" || typeof value === "string" ? value : undefined;
}

function same(value: unknown, wanted: unknown): boolean {
  if (value === wanted) return true;
  if (Array.isArray(value)) return value.some((item) => same(item, wanted));
  if (value instanceof Date && wanted instanceof Date) return value.getTime() === wanted.getTime();
  return (value === undefined || value === null) && (wanted === undefined || wanted === null);
}

function isOperators(wanted: unknown): wanted is Fields {
  if (typeof wanted !== "object" || wanted === null || wanted instanceof Date) return false;
  for (const key in wanted) return key.startsWith("$");
  return false;
}

/**
 * As it is stored: a copy without undefined fields, so that nobody shares memory with the database.
 */
export function stored(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return new Date(value.getTime());
  if (Buffer.isBuffer(value)) return value;
  if (value instanceof Uint8Array) return Buffer.from(value);
  if (Array.isArray(value)) return value.map((item) => (item === undefined ? null : stored(item)));
  const copy: Fields = {};
  for (const key in value) {
    const field = (value as Fields)[key];
    if (field !== undefined) copy[key] = stored(field);
  }
  return copy;
}

/** What an update changed, as a change stream reports it. */
export interface Updated {
  doc: Doc;
  fields: Fields;
}

interface Push {
  $each: unknown[];
  $slice?: number;
}

/**
 * The document after an update with operators.
 * @throws Refusal 40 if two paths of one update conflict, 28 if a path leads through a value
 */
export function updated(doc: Doc, update: Fields, inserting = false): Updated {
  refuseConflicts(update);
  const next: Fields = { ...doc };
  const fields: Fields = {};
  const put = (path: string, value: unknown) => {
    setAt(next, path, value);
    fields[path] = value;
  };
  for (const operator in update) {
    const changes = update[operator] as Fields;
    for (const path in changes) {
      const operand = changes[path];
      if (operator === "$unset") unsetAt(next, path);
      else if (operator === "$max") {
        if (!compares(valueAt(next, path), "$gte", operand)) put(path, operand);
      } else if (operator === "$inc")
        put(path, ((valueAt(next, path) as number | undefined) ?? 0) + Number(operand));
      else if (operator === "$pull") {
        const list = valueAt(next, path) as unknown[] | undefined;
        if (list?.some((item) => same(item, operand)) === true) {
          const left = list.filter((item) => !same(item, operand));
          put(path, left);
        }
      } else if (operator === "$push") put(path, pushed(valueAt(next, path), operand as Push));
      else if (operator === "$set" || (operator === "$setOnInsert" && inserting)) {
        if (operand !== undefined) put(path, stored(operand));
      } else if (operator !== "$setOnInsert") throw new Refusal(9, `unknown update ${operator}`);
    }
  }
  return { doc: next as Doc, fields };
}

function pushed(list: unknown, { $each, $slice = -Infinity }: Push): unknown[] {
  return [...((list as unknown[] | undefined) ?? []), ...(stored($each) as unknown[])].slice(
    $slice,
  );
}

function refuseConflicts(update: Fields): void {
  const paths = Object.values(update).flatMap((changes) => Object.keys(changes as Fields));
  if (new Set(paths).size !== paths.length) throw conflict(paths.join(", "));
  for (const path of paths) {
    if (!path.includes(".")) continue;
    const above = paths.find((other) => path.startsWith(`${other}.`));
    if (above !== undefined) throw conflict(`${above} and ${path}`);
  }
}

function conflict(what: string): Refusal {
  return new Refusal(40, `Updating the path would create a conflict: ${what}`);
}

export function setAt(doc: Fields, path: string, value: unknown): void {
  const dot = path.indexOf(".");
  if (dot < 0) {
    doc[path] = value;
    return;
  }
  const [top, rest] = [path.slice(0, dot), path.slice(dot + 1)];
  const inner = doc[top];
  if (inner !== undefined && (typeof inner !== "object" || inner === null)) {
    throw new Refusal(28, `Cannot create field in element ${top}`);
  }
  const copy: Fields = { ...inner };
  setAt(copy, rest, value);
  doc[top] = copy;
}

export function unsetAt(doc: Fields, path: string): void {
  const dot = path.indexOf(".");
  if (dot < 0) {
    Reflect.deleteProperty(doc, path);
    return;
  }
  const top = path.slice(0, dot);
  const inner = doc[top];
  if (typeof inner !== "object" || inner === null) return;
  const copy: Fields = { ...inner };
  unsetAt(copy, path.slice(dot + 1));
  doc[top] = copy;
}
