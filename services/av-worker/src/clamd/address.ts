import { createConnection, type Socket } from "node:net";
import { isAbsolute } from "node:path";

/** Where a clamd listens, as clamd.conf has it: TCPAddr and TCPSocket, or LocalSocket. */
export type ClamdAddress =
  | { kind: "tcp"; host: string; port: number; text: string }
  | { kind: "unix"; path: string; text: string };

/**
 * Reads `host:port`, `[::1]:port`, `host` (port 3310), `/path` or `unix:/path`.
 * `undefined` for what is none of them.
 */
export function parseClamdAddress(text: string): ClamdAddress | undefined {
  const path = text.startsWith("unix:") ? text.slice("unix:".length) : text;
  if (isAbsolute(path)) return { kind: "unix", path, text: path };
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? 3310);
  if (host === undefined || port < 1 || port > 65_535) return undefined;
  return { kind: "tcp", host, port, text: `${host.includes(":") ? `[${host}]` : host}:${port}` };
}

/** A socket on its way to that address; the caller owns it. */
export function connectTo(address: ClamdAddress): Socket {
  if (address.kind === "unix") return createConnection({ path: address.path });
  const { host, port } = address;
  return createConnection({ host, port, noDelay: true, keepAlive: true });
}
