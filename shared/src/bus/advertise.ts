import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isWildcard, parseEndpoint, formatEndpoint, type Endpoint } from "./endpoint.ts";

/**
 * The address under which a dispatcher reaches this mailbox: `advertise` if it is set (its port
 * may be `*`: the bound one), the bound address if it is one, else the local address that routes
 * to that dispatcher. Never a wildcard.
 */
export async function advertisedMailbox(mailbox: {
  bound: string;
  advertise: string | undefined;
  dispatcher: string;
}): Promise<string> {
  const bound = parseEndpoint(mailbox.bound);
  if (bound.transport === "ipc") return mailbox.advertise ?? mailbox.bound;
  if (mailbox.advertise !== undefined) {
    const wanted = parseEndpoint(mailbox.advertise);
    if (wanted.transport === "ipc" || wanted.port > 0) return mailbox.advertise;
    return formatEndpoint({ ...wanted, port: bound.port });
  }
  if (!isWildcard(bound.host)) return mailbox.bound;
  const host = await localAddressTowards(parseEndpoint(mailbox.dispatcher));
  return formatEndpoint({ ...bound, host });
}

/** The source address that the kernel would choose. Connecting a UDP socket sends nothing. */
async function localAddressTowards(peer: Endpoint): Promise<string> {
  if (peer.transport === "ipc") return "127.0.0.1";
  const socket = createSocket(peer.host.includes(":") ? "udp6" : "udp4");
  try {
    const connected = once(socket, "connect");
    socket.connect(peer.port, peer.host);
    await connected;
    return socket.address().address;
  } finally {
    socket.close();
  }
}
