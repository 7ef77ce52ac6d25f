import { parseEngineAddress, type EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";

/** The usual port (clamd.conf(5), TCPSocket). */
export const clamdPort = 3310;

/** @throws TerminalError CFG_INVALID */
export function parseClamdAddress(text: string): EngineAddress {
  return parseEngineAddress(text, clamdPort);
}
