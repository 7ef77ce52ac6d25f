/** Times and numbers as a person reads them. */

/** `850µs`, `12.3ms`, `3.4s`, `2m 5s`. */
export function time(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1_000)}µs`;
  if (ms < 999.5) return `${ms < 99.95 ? ms.toPrecision(3) : Math.round(ms)}ms`;
  if (ms < 99_950) return `${(ms / 1_000).toPrecision(3)}s`;
  const seconds = Math.round(ms / 1_000);
  return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
}

/** `0.50`, `12.3`, `1,234`. */
export function amount(number: number): string {
  if (number === 0 || Number.isInteger(number)) return number.toLocaleString("en");
  if (number < 10) return number.toFixed(2);
  return number < 1_000 ? number.toFixed(1) : Math.round(number).toLocaleString("en");
}

export function rate(perSecond: number): string {
  return `${amount(perSecond)}/s`;
}

/** `accepted 12, refused 3`; zeros are left out. */
export function counts(of: Readonly<Record<string, number>>): string {
  return Object.entries(of)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${amount(count)}`)
    .join(", ");
}
