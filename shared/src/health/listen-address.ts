import { z } from "zod";

/** Where a server listens. Port 0 is a free one. */
export interface ListenAddress {
  host: string;
  port: number;
}

const form = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]+)):(\d{1,5})$/;

/** HEALTH_HTTP: `host:port` or `[v6]:port`; if unset, nothing listens. */
export function healthHttp() {
  return z
    .string()
    .transform((text, context): ListenAddress => {
      const address = parseListenAddress(text);
      if (address !== undefined) return address;
      context.addIssue({ code: "custom", message: `"${text}" is not host:port` });
      return z.NEVER;
    })
    .optional();
}

function parseListenAddress(text: string): ListenAddress | undefined {
  const [, v6, name, port] = form.exec(text) ?? [];
  const host = v6 ?? name;
  if (host === undefined || Number(port) > 65_535) return undefined;
  return { host, port: Number(port) };
}
