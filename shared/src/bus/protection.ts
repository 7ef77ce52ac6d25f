import { TerminalError } from "../errors.ts";
import { parseEndpoint, staysOnHost } from "./endpoint.ts";

/** What BUS_ALLOW_PLAINTEXT must say for the bus to leave this host without keys. */
export const plaintextPhrase = "i-know-the-bus-is-not-encrypted";

/** Decides which addresses the bus may use. */
export interface BusProtection {
  /** @throws TerminalError CFG_BUS_UNPROTECTED for an address beyond loopback and ipc */
  check(endpoint: string, use: "bind" | "advertise" | "connect"): void;
  allows(endpoint: string): boolean;
}

/** `allowPlaintext` is the value of BUS_ALLOW_PLAINTEXT; only the exact phrase counts. */
export function createBusProtection(allowPlaintext: string | undefined): BusProtection {
  const allows = (endpoint: string) =>
    allowPlaintext === plaintextPhrase || staysOnHost(parseEndpoint(endpoint));
  return {
    allows,
    check(endpoint, use) {
      if (allows(endpoint)) return;
      throw new TerminalError(
        "CFG_BUS_UNPROTECTED",
        `the bus would ${use} ${endpoint}, where others can read and forge its messages: ` +
          `keep it on loopback or ipc, or set BUS_ALLOW_PLAINTEXT=${plaintextPhrase}`,
      );
    },
  };
}
