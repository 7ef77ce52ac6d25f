import { parseEngineAddress, type EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";

/** clamd.conf(5), TCPSocket: the port that is usual. */
export const clamdPort = 3310;

/** @throws TerminalError CFG_INVALID */
export function parseClamdAddress(text: string): EngineAddress {
  return parseEngineAddress(text, clamdPort);
}
