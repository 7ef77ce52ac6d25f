/** A copy that shows no private key of a plan or policy; `file:` names stay. */
export function withoutKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutKeys);
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]: [string, unknown]) => [
      key,
      key === "privateKey" ? hidden(entry) : withoutKeys(entry),
    ]),
  );
}

function hidden(key: unknown): unknown {
  return typeof key === "string" && key.startsWith("file:") ? key : "(hidden)";
}
