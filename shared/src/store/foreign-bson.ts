import { BSON, Code, DBRef, ObjectId } from "mongodb";

/*
 * What others have put into MongoDB may hold a field `_bsontype`, by which the driver takes a plain
 * object for one of its own types, and throws if it is to send it back. These say the same in words
 * that it takes.
 */

/**
 * How it is read. Text that is no UTF-8 would hide the whole batch; bytes of a kind (a UUID) would lose
 * that; and the driver's own default looks field names up in an object, so that a list named
 * `__proto__` or `toString` would come as bytes.
 */
export const asWritten = {
  enableUtf8Validation: false,
  promoteBuffers: false,
  fieldsAsRaw: Object.create(null) as Record<string, boolean>,
};

/**
 * The value as the driver can send it: in place of what it would take for a type of its own stands a
 * Map, of which it writes the fields and nothing else. The rest is the same.
 */
export function sendable<Value>(value: Value): Value {
  return sent(value) as Value;
}

function sent(value: unknown): unknown {
  if (Array.isArray(value)) return changed(value, value.map(sent)) ?? value;
  if (value instanceof Code && value.scope !== null) {
    const scope = sent(value.scope);
    return scope === value.scope ? value : new Code(value.code, scope as BSON.Document);
  }
  const fields = fieldsOf(value);
  if (fields === undefined) return value;
  const names = fields.map(([name]) => name);
  const before = fields.map(([, field]) => field);
  const after = before.map(sent);
  const isLikeType = names.includes("_bsontype");
  if (!isLikeType && changed(before, after) === undefined) return value;
  const entries = names.map((name, place): [string, unknown] => [name, after[place]]);
  return isLikeType || value instanceof DBRef ? new Map(entries) : Object.fromEntries(entries);
}

/** The second list, if it is another one. */
function changed(before: readonly unknown[], after: unknown[]): unknown[] | undefined {
  return after.some((item, place) => !Object.is(item, before[place])) ? after : undefined;
}

/** Canonical Extended JSON v2 of it, indented. */
export function extendedJson(value: unknown): string {
  return JSON.stringify(extended(value), undefined, 1);
}

function extended(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(extended);
  if (value instanceof Code && value.scope !== null)
    return { $code: value.code, $scope: extended(value.scope) };
  const fields = fieldsOf(value);
  if (fields === undefined) return BSON.EJSON.serialize(value, { relaxed: false });
  return Object.fromEntries(fields.map(([name, field]) => [name, extended(field)]));
}

/** Those of a document that the driver has read, or of what it makes of `{ $ref, $id }`. */
function fieldsOf(value: unknown): [string, unknown][] | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (value instanceof DBRef) {
    const { collection, oid, db, fields } = value;
    const own: [string, unknown][] = [
      ["$ref", collection],
      ["$id", oid],
    ];
    if (db !== undefined) own.push(["$db", db]);
    return [...own, ...Object.entries(fields)];
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? Object.entries(value) : undefined;
}

const objectIdText = /^[0-9a-f]{24}$/;

/**
 * A record's `_id` as text, another one for each that MongoDB tells apart: the text of a string, the
 * digits of an ObjectId, the bytes of anything else. A string that could be one of the others is
 * written by its bytes too.
 */
export function idText(id: unknown): string {
  if (id instanceof ObjectId) return id.toHexString();
  if (typeof id === "string" && !objectIdText.test(id) && !id.startsWith("\0")) return id;
  return `\0${Buffer.from(bytesOf(id)).toString("hex")}`;
}

/** Bytes of the `_id` alone in a document. */
export function bytesOf(id: unknown): Uint8Array {
  return BSON.serialize({ _id: sendable(id) });
}

/** The `_id` in such bytes. */
export function idIn(bytes: Uint8Array | undefined): unknown {
  const { fieldsAsRaw, promoteBuffers } = asWritten;
  const validation = { utf8: false } as const;
  const document = bytes && BSON.deserialize(bytes, { fieldsAsRaw, promoteBuffers, validation });
  return document?._id;
}

/** For a person: the `_id` in such bytes as Extended JSON. */
export function shownId(bytes: Uint8Array): string {
  return BSON.EJSON.stringify(extended(idIn(bytes)));
}

/**
 * The text that once stood for this `_id`, if that is another now, and the other `_id` that had the
 * same: its `twin`, if that can be.
 */
export function formerIdText(id: unknown): { text: string; twin: unknown } | undefined {
  if (id instanceof ObjectId || idText(id) === id) return undefined;
  if (typeof id === "string")
    return { text: id, twin: objectIdText.test(id) ? new ObjectId(id) : undefined };
  try {
    const text = BSON.EJSON.stringify(id);
    return { text, twin: text };
  } catch {
    return undefined;
  }
}
