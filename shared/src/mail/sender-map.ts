/** The new address for one that the map names, or undefined. */
export type SenderLookup = (address: string) => string | undefined;

/**
 * The map of a sender rewrite as a function. A whole address takes precedence over its domain
 * (`@domain`); case is ignored. The planner asks it for the From that will leave, the enricher
 * rewrites by it.
 */
export function senderLookup(map: Readonly<Record<string, string>>): SenderLookup {
  const addresses = new Map(Object.entries(map).map(([from, to]) => [from.toLowerCase(), to]));
  return (address) => {
    const at = address.lastIndexOf("@");
    if (at < 0) return undefined;
    const key = address.toLowerCase();
    return addresses.get(key) ?? addresses.get(key.slice(at));
  };
}
