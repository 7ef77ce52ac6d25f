/** A copy that lacks these fields. */
export function without<T extends object>(whole: T, ...fields: (keyof T)[]): Partial<T> {
  const copy: Partial<T> = { ...whole };
  for (const field of fields) Reflect.deleteProperty(copy, field);
  return copy;
}
