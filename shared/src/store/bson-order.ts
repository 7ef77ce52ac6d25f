import {
  Binary,
  BSONRegExp,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
} from "mongodb";

/** BSON types in the order in which MongoDB sorts values of different types; those in a row compare. */
const order = [
  ["minKey"],
  ["undefined", "null"],
  ["double", "int", "long", "decimal"],
  ["string", "symbol"],
  ["object"],
  ["array"],
  ["binData"],
  ["objectId"],
  ["bool"],
  ["date"],
  ["timestamp"],
  ["regex"],
  ["dbPointer"],
  ["javascript"],
  ["javascriptWithScope"],
  ["maxKey"],
] as const;
type BsonType = (typeof order)[number][number];

/** The types whose values sort after every value that can be compared with this one. */
export function laterTypes(value: unknown): BsonType[] {
  const type = typeOf(value);
  const place = order.findIndex((types) => (types as readonly string[]).includes(type));
  return order.slice(place + 1).flat();
}

const classes: readonly (readonly [new (...args: never[]) => object, BsonType])[] = [
  [MinKey, "minKey"],
  // A Timestamp is a Long for the driver.
  [Timestamp, "timestamp"],
  [Long, "long"],
  [Int32, "int"],
  [Double, "double"],
  [Decimal128, "decimal"],
  [Binary, "binData"],
  [Uint8Array, "binData"],
  [ObjectId, "objectId"],
  [Date, "date"],
  [RegExp, "regex"],
  [BSONRegExp, "regex"],
  [MaxKey, "maxKey"],
];

function typeOf(value: unknown): BsonType {
  if (value === null || value === undefined) return "null";
  if (typeof value === "string") return "string";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number" || typeof value === "bigint") return "double";
  if (Array.isArray(value)) return "array";
  return classes.find(([one]) => value instanceof one)?.[1] ?? "object";
}
