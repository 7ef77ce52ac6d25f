import { createConnection, type Socket } from "node:net";
import { isAbsolute } from "node:path";
import { list } from "../config.ts";
import { TerminalError, messageOf } from "../errors.ts";

/** Where an engine listens; `text` as people write it. */
export type EngineAddress =
  | { kind: "tcp"; host: string; port: number; text: string }
  | { kind: "unix"; path: string; text: string };

/**
 * Reads `host:port`, `[::1]:port`, `/path` or `unix:/path`; `host` alone too if there is a usual port.
 * @throws TerminalError CFG_INVALID for what is none of them
 */
export function parseEngineAddress(text: string, usualPort?: number): EngineAddress {
  const path = text.startsWith("unix:") ? text.slice("unix:".length) : text;
  if (isAbsolute(path)) return { kind: "unix", path, text: path };
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? usualPort);
  if (host !== undefined && port >= 1 && port <= 65_535) {
    return { kind: "tcp", host, port, text: `${host.includes(":") ? `[${host}]` : host}:${port}` };
  }
  throw new TerminalError("CFG_INVALID", `no address of an engine: ${text} (host:port or /path)`);
}

/** A setting with one or more addresses, commas between them. */
export function engineAddresses(usualPort?: number) {
  return list()
    .transform((entries, context) =>
      entries.flatMap((entry) => {
        try {
          return [parseEngineAddress(entry, usualPort)];
        } catch (error) {
          context.addIssue({ code: "custom", message: messageOf(error) });
          return [];
        }
      }),
    )
    .refine((found) => found.length > 0, "at least one address");
}

/** A socket on its way to that address; the caller owns it. */
export function connectTo(address: EngineAddress): Socket {
  if (address.kind === "unix") return createConnection({ path: address.path });
  const { host, port } = address;
  return createConnection({ host, port, noDelay: true, keepAlive: true });
}
