import { freePort } from "@rs-agent/kit/free-port.ts";
import type { MailServer } from "../mail-server.ts";
import { recipientDomain } from "../sample-mails.ts";
import { versionOf } from "./needs.ts";
import { startPostfixInstance } from "./postfix-instance.ts";

export interface PostfixOptions {
  /** Configuration, queue, data and log of an instance of our own. */
  dir: string;
  sinkPort: number;
  /** `host:port` of the milter that every mail passes; absent: none. */
  milter?: string;
}

/**
 * Takes mail by SMTP and relays all of it to the sink: its queue is on the same disk as our
 * database, and it has no DNS and no limits for a busy client.
 * @throws TerminalError SETUP_MISSING if we are not root
 */
export async function startPostfix(options: PostfixOptions): Promise<MailServer> {
  const { dir, sinkPort, milter } = options;
  const port = await freePort();
  const main = Object.entries(settings(sinkPort, milter));
  const { pid, stop } = await startPostfixInstance({
    dir,
    port,
    main: main.map(([name, value]) => `${name} = ${value}\n`).join(""),
    master: services(port),
  });
  return {
    name: "postfix",
    address: `127.0.0.1:${port}`,
    about: await versionOf("postfix"),
    processes: () => ({ postfix: [pid] }),
    stop,
  };
}

/** postconf(5). */
function settings(sinkPort: number, milter: string | undefined): Record<string, string> {
  return {
    myhostname: `postfix.${recipientDomain}`,
    mydestination: "",
    mynetworks: "127.0.0.0/8",
    relayhost: `[127.0.0.1]:${sinkPort}`,
    smtpd_relay_restrictions: "permit_mynetworks, reject",
    local_recipient_maps: "",
    smtpd_client_connection_count_limit: "0",
    default_process_limit: "100",
    // Larger than the mails of `big`.
    message_size_limit: "104857600",
    ...(milter === undefined
      ? {}
      : {
          smtpd_milters: `inet:${milter}`,
          milter_default_action: "tempfail",
          milter_protocol: "6",
        }),
  };
}

/** master(5): what relaying needs, nothing in a chroot. */
function services(port: number): string {
  return [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "verify unix - - n - 1 verify",
    "flush unix n - n 1000? 0 flush",
    "proxymap unix - - n - - proxymap",
    "smtp unix - - n - - smtp",
    "relay unix - - n - - smtp",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "discard unix - - n - - discard",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
    "postlog unix-dgram n - n - 1 postlogd",
    "",
  ].join("\n");
}
