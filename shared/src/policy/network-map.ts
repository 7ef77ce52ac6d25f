import type { Address, Network } from "./networks.ts";

/**
 * Values by network, of which the narrowest that holds an address is found. There is one map for
 * each prefix length that occurs, so the cost of a look-up depends on the number of lengths, not of
 * networks.
 */
export class NetworkMap<Value> {
  readonly #byKind = { ipv4: new PrefixMap<Value>(), ipv6: new PrefixMap<Value>() };

  /** Replaces and returns the value that exactly this network had. */
  set({ address, bits }: Network, value: Value): Value | undefined {
    return this.#byKind[address.kind()].set(unitsOf(address), bits, value);
  }

  /** Give `::ffff:192.0.2.1` as 192.0.2.1, as `parseAddress` does. */
  find(address: Address): Value | undefined {
    return this.#byKind[address.kind()].find(unitsOf(address));
  }
}

class PrefixMap<Value> {
  /** The longest prefixes first. */
  #maps: { bits: number; values: Map<string, Value> }[] = [];

  set(units: readonly number[], bits: number, value: Value): Value | undefined {
    const { values } = this.#maps.find((map) => map.bits === bits) ?? this.#add(bits);
    const key = prefixOf(units, bits);
    const before = values.get(key);
    values.set(key, value);
    return before;
  }

  find(units: readonly number[]): Value | undefined {
    for (const { bits, values } of this.#maps) {
      const value = values.get(prefixOf(units, bits));
      if (value !== undefined) return value;
    }
    return undefined;
  }

  #add(bits: number) {
    const map = { bits, values: new Map<string, Value>() };
    this.#maps = [...this.#maps, map].sort((a, b) => b.bits - a.bits);
    return map;
  }
}

/** The address in units of 16 bits. */
function unitsOf(address: Address): readonly number[] {
  if ("parts" in address) return address.parts;
  const [a = 0, b = 0, c = 0, d = 0] = address.octets;
  return [(a << 8) | b, (c << 8) | d];
}

/** A distinct text for each prefix of that length, one character per 16 bits. */
function prefixOf(units: readonly number[], bits: number): string {
  const whole = bits >> 4;
  const rest = bits & 15;
  const text = String.fromCharCode(...units.slice(0, whole));
  if (rest === 0) return text;
  return text + String.fromCharCode((units[whole] ?? 0) & (0xffff << (16 - rest)));
}
