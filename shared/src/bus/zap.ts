import { Reply, type Context } from "zeromq";
import { encodeZ85 } from "./curve-key.ts";

/** The domain that our sockets name; libzmq refuses a peer if there is no handler for it. */
export const zapDomain = "rs-agent";

/** Who wants to connect. */
export interface Knocking {
  /** In Z85; undefined: the request is of no mechanism that we use. */
  publicKey: string | undefined;
  /** IP address, as the kernel has it. */
  address: string;
}

/**
 * Answers libzmq's question whether a peer may come in (ZAP, RFC 27), for all sockets of a context:
 * asked once for each connection, after the peer has proven that it holds the secret half.
 * `close` it after these sockets.
 */
export function openZapHandler(
  context: Context,
  admits: (peer: Knocking) => boolean,
): { close(): void } {
  const reply = new Reply({ context, linger: 0 });
  reply.bindSync("inproc://zeromq.zap.01");
  let closed = false;
  const answer = async () => {
    for await (const request of reply) await reply.send(answerTo(request, admits));
  };
  answer().catch((error: unknown) => {
    // Closed in the middle of an answer; else it is a bug, and without answers nobody gets in.
    if (!closed) throw error;
  });
  return {
    close() {
      closed = true;
      reply.close();
    },
  };
}

/** Frames of a request: version, request id, domain, address, routing id, mechanism, credentials. */
function answerTo(request: readonly Buffer[], admits: (peer: Knocking) => boolean) {
  const [version = "", id = "", domain, address, , mechanism, key] = request;
  const isOurs = String(domain) === zapDomain && String(mechanism) === "CURVE";
  const publicKey = isOurs && key?.length === 32 ? encodeZ85(key) : undefined;
  const admitted = publicKey !== undefined && admits({ publicKey, address: String(address) });
  const [status, text] = admitted ? ["200", "OK"] : ["400", "key refused"];
  return [version, id, status, text, admitted ? publicKey : "", ""];
}
