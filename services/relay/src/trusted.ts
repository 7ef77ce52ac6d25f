import { rootCertificates } from "node:tls";
import { messageOf } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { readTrusted } from "@rs-agent/shared/pem-files.ts";

/** The certificates (PEM) that sessions begun now trust; undefined: Node's own. */
export type Trusted = () => Promise<readonly string[] | undefined>;

/**
 * Reads RELAY_TLS_CA_FILE now and for each session again. If it can no longer be used, that is
 * logged and the certificates read before stay trusted.
 * @throws TerminalError CFG_INVALID if it cannot be used now
 */
export async function openTrusted(path: string | undefined, log: Logger): Promise<Trusted> {
  if (path === undefined) return () => Promise.resolve(undefined);
  const file = { setting: "RELAY_TLS_CA_FILE", path };
  let last = await readTrusted(file);
  let isFailing = false;
  return async () => {
    try {
      last = await readTrusted(file);
      isFailing = false;
    } catch (error) {
      if (!isFailing) {
        const text = "trusted certificates not reloaded: the old ones stay in use";
        log.error({ file: path, reason: messageOf(error) }, text);
      }
      isFailing = true;
    }
    return [...rootCertificates, last];
  };
}
