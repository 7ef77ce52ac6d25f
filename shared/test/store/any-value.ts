import fc from "fast-check";
import { Code, DBRef, Long, MinKey, ObjectId, type Document } from "mongodb";

/**
 * Plain objects that look like one of the driver's types, which the driver writes only if they are
 * Maps.
 */
const likeTypes = fc
  .tuple(fc.constantFrom("ObjectId", "Binary", "Long", "DBRef", "x", 5, null), fc.integer())
  .map(
    ([type, id]) =>
      new Map<string, unknown>([
        ["_bsontype", type],
        ["id", id],
      ]),
  );

/** Values of every BSON type that any field of a hand-written document may have. */
export const anyValue = fc.oneof(
  likeTypes,
  likeTypes.map((inner) => new Map([["__proto__", [inner]]])),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.string(),
  fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(Date.UTC(2100, 0)) }),
  fc.uint8Array({ maxLength: 5 }).map((bytes) => Buffer.from(bytes)),
  fc.array(fc.oneof(fc.integer(), fc.string(), fc.constant(null)), { maxLength: 3 }),
  fc.dictionary(fc.stringMatching(/^[a-z]{1,5}$/), fc.oneof(fc.integer(), fc.string())),
);

/** Also those that cannot be indexed. */
export const anyField = fc.oneof(
  anyValue,
  likeTypes.map((scope) => new Code("x", scope as Document)),
  fc.constantFrom<unknown>(
    new DBRef("c", new ObjectId("0".repeat(24))),
    Long.MAX_VALUE,
    new MinKey(),
    /x/,
    NaN,
  ),
);
