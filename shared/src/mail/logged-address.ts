import { sha256Hex } from "../ids.ts";

/** `LOG_ADDRESSES`: whole, as a hash that can still be searched for, or not at all. */
export const addressLogModes = ["plain", "hash", "off"] as const;
export type AddressLogMode = (typeof addressLogModes)[number];

/**
 * An address as it may appear in a log line. `hash` gives the first 16 hex digits of the SHA-256 of
 * the address in lower case: somebody who knows an address can search for it, but nobody can read
 * one. The null sender is nobody's address and is always shown as `""`.
 */
export function loggedAddress(address: string, mode: AddressLogMode): string {
  if (address === "" || mode === "plain") return address;
  return mode === "hash" ? sha256Hex(address.toLowerCase()).slice(0, 16) : "-";
}
