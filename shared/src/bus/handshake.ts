import type { Pull, Push } from "zeromq";

/**
 * How a handshake fails, as libzmq tells it. `refused`: the mailbox has looked at the key and does not
 * take it. `other-key`: the mailbox's key is not the one that was expected; the connecting side sees that as
 * `broken`: the other side was gone immediately. `mechanism`: one of the two has keys and the other has none.
 */
export type HandshakeFailure = "refused" | "other-key" | "mechanism" | "broken";

/** In the words of who connects. */
export const refusalTexts: Record<HandshakeFailure, string> = {
  refused: "it refuses our key: unknown to it, revoked, or listed for another kind",
  "other-key": "it says nothing that its key could have made",
  mechanism: "one of us has keys and the other has none",
  broken: "it holds another key than the one listed, or was gone immediately",
};

/**
 * Tells of each handshake of this socket that fails. libzmq connects again by itself after
 * `broken` alone.
 */
export function handshakeFailures(
  socket: Pick<Pull | Push, "events">,
  onFailure: (failure: HandshakeFailure) => void,
): void {
  socket.events.on("handshake:error:auth", () => onFailure("refused"));
  socket.events.on("handshake:error:other", () => onFailure("broken"));
  socket.events.on("handshake:error:protocol", ({ error }) =>
    onFailure(error.code === "ERR_ZMTP_MECHANISM_MISMATCH" ? "mechanism" : "other-key"),
  );
}
