import { z } from "zod";
import { list } from "@rs-agent/shared/config.ts";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";

/** `host:port` or the path of a unix socket. */
export type EngineAddress =
  { kind: "tcp"; host: string; port: number } | { kind: "unix"; path: string };

/** @throws TerminalError CFG_INVALID for anything that is neither form */
export function parseEngineAddress(text: string): EngineAddress {
  if (text.startsWith("/")) return { kind: "unix", path: text };
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[3]);
  const host = parts?.[1] ?? parts?.[2];
  if (host !== undefined && port >= 1 && port <= 65_535) return { kind: "tcp", host, port };
  throw new TerminalError(
    "CFG_INVALID",
    `no address of a spam engine: ${text} (host:port or /path)`,
  );
}

/** One or more addresses, with commas between. */
export function engineAddresses() {
  return list().pipe(
    z
      .array(
        z.string().superRefine((entry, context) => {
          try {
            parseEngineAddress(entry);
          } catch (error) {
            context.addIssue({ code: "custom", message: messageOf(error) });
          }
        }),
      )
      .min(1, "at least one address"),
  );
}
