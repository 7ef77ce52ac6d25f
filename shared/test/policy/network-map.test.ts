import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { expect, test } from "vitest";
import { NetworkMap } from "../../src/policy/network-map.ts";

/** Few different bytes, so that networks overlap at every length. */
const byte = fc.constantFrom(0, 1, 10, 127, 128, 255);
const addressOf = (bytes: number) =>
  fc.array(byte, { minLength: bytes, maxLength: bytes }).map((each) => ipaddr.fromByteArray(each));
const networksOf = (bytes: number) =>
  fc.array(fc.record({ address: addressOf(bytes), bits: fc.nat(bytes * 8) }), { maxLength: 30 });

test.each([4, 16])("finds the narrowest network of %i bytes that holds an address", (bytes) => {
  const asked = fc.array(addressOf(bytes), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(networksOf(bytes), asked, (networks, addresses) => {
      const map = new NetworkMap<number>();
      for (const [at, network] of networks.entries()) map.set(network, at);
      for (const address of [...addresses, ...networks.map((network) => network.address)]) {
        const holding = networks
          .map((network, at) => ({ ...network, at }))
          .filter((network) => address.match(network.address, network.bits))
          // Of equal networks the last one has replaced the others.
          .sort((a, b) => b.bits - a.bits || b.at - a.at);
        expect(map.find(address)).toBe(holding[0]?.at);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("returns the value replaced for exactly the same network, and for no other", () => {
  const map = new NetworkMap<string>();
  const network = (text: string) => {
    const [address, bits] = ipaddr.parseCIDR(text);
    return { address, bits };
  };
  expect(map.set(network("10.0.0.0/8"), "a")).toBeUndefined();
  expect(map.set(network("10.0.0.0/9"), "b")).toBeUndefined();
  // Bits after the prefix do not count.
  expect(map.set(network("10.1.2.3/8"), "c")).toBe("a");
  expect(map.set(network("0a00::/8"), "d")).toBeUndefined();
  expect(map.find(ipaddr.parse("10.200.0.1"))).toBe("c");
});
