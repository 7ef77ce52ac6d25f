import type { Clock } from "../clock.ts";
import { TerminalError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import type { BusKind } from "./allow-list.ts";
import { BusKeys } from "./bus-keys.ts";
import { parseEndpoint, staysOnHost } from "./endpoint.ts";

/** What BUS_ALLOW_PLAINTEXT must say for the bus to leave this host without keys. */
export const plaintextPhrase = "i-know-the-bus-is-not-encrypted";

/** Decides which addresses the bus may use, and with which keys. */
export interface BusProtection {
  /** With them every socket of this actor is encrypted, on loopback too. */
  readonly keys: BusKeys | undefined;
  /** @throws TerminalError CFG_BUS_UNPROTECTED for an address beyond loopback and ipc */
  check(endpoint: string, use: "bind" | "advertise" | "connect"): void;
  allows(endpoint: string): boolean;
  /** After all sockets that use it. */
  close(): void;
}

/** Settings of the bus that every actor has. */
export interface ProtectionSettings {
  BUS_KEY_FILE?: string | undefined;
  BUS_ALLOW_FILE?: string | undefined;
  /** Only the exact phrase counts. */
  BUS_ALLOW_PLAINTEXT?: string | undefined;
}

/**
 * Reads the keys, if there are any.
 * @throws TerminalError CFG_INVALID, CFG_BUS_KEYS
 */
export function openBusProtection(
  settings: ProtectionSettings,
  deps: { kind: BusKind; clock: Clock; log: Logger },
): BusProtection {
  const { BUS_KEY_FILE: keyFile, BUS_ALLOW_FILE: allowFile } = settings;
  const { BUS_ALLOW_PLAINTEXT: allowPlaintext } = settings;
  if (keyFile === undefined && allowFile === undefined) return createBusProtection(allowPlaintext);
  if (keyFile === undefined || allowFile === undefined) {
    throw new TerminalError("CFG_INVALID", "BUS_KEY_FILE and BUS_ALLOW_FILE are set together");
  }
  if (allowPlaintext !== undefined) {
    const text =
      "BUS_ALLOW_PLAINTEXT contradicts BUS_KEY_FILE: with keys nothing goes in plain text";
    throw new TerminalError("CFG_INVALID", text);
  }
  return createBusProtection(undefined, new BusKeys({ keyFile, allowFile, ...deps }));
}

/** `allowPlaintext` is the value of BUS_ALLOW_PLAINTEXT; only the exact phrase counts. */
export function createBusProtection(
  allowPlaintext: string | undefined,
  keys?: BusKeys,
): BusProtection {
  const everywhere = keys !== undefined || allowPlaintext === plaintextPhrase;
  const allows = (endpoint: string) => everywhere || staysOnHost(parseEndpoint(endpoint));
  return {
    keys,
    allows,
    check(endpoint, use) {
      if (allows(endpoint)) return;
      throw new TerminalError(
        "CFG_BUS_UNPROTECTED",
        `the bus would ${use} ${endpoint}, where others can read and forge its messages: give it ` +
          "keys (BUS_KEY_FILE, BUS_ALLOW_FILE; the command keys init makes them), keep it on loopback " +
          `or ipc, or set BUS_ALLOW_PLAINTEXT=${plaintextPhrase}`,
      );
    },
    close: () => keys?.close(),
  };
}
