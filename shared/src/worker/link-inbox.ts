import { decodeMessage, type IncomingPart } from "../bus/codec.ts";
import type { DropCause, DropCounter } from "../bus/drop-counter.ts";
import type { Mailbox } from "../bus/mailbox.ts";
import { byeHeadSchema, heartbeatHeadSchema } from "../bus/wire.ts";
import type { Clock } from "../clock.ts";
import type { DispatcherLinks } from "./dispatcher-links.ts";
import type { WorkerSession } from "./worker-session.ts";

export interface LinkInboxDeps {
  versions: readonly number[];
  links: DispatcherLinks;
  drops: DropCounter;
  clock: Clock;
  /** A frame of an open session that is no heartbeat and no bye; what comes back is why it was dropped. */
  receive: (session: WorkerSession, part: IncomingPart) => DropCause | undefined;
  onBye: () => void;
}

/** What comes into the mailbox of a worker or a relay: it belongs to a session, or is dropped (I9). */
export class LinkInbox {
  readonly #deps: LinkInboxDeps;

  constructor(deps: LinkInboxDeps) {
    this.#deps = deps;
  }

  /** Reads until the mailbox is closed. */
  async read(mailbox: Mailbox): Promise<void> {
    const { drops, versions } = this.#deps;
    const dropped = (cause: DropCause) => drops.count(cause);
    const each = (part: IncomingPart) => {
      const cause = this.#receive(part);
      if (cause !== undefined) drops.count(cause);
    };
    for await (const frames of mailbox) decodeMessage(frames, versions, each, dropped);
  }

  /** Handles one head; what comes back is why it was dropped. */
  #receive(part: IncomingPart): DropCause | undefined {
    const { head } = part;
    if (head["kind"] === "heartbeat") return this.#onHeartbeat(head);
    const session = this.#deps.links.ofSession(String(head["session"]))?.session;
    if (session === undefined || session.dispatcherId !== head["from"]) return "session";
    if (head["v"] !== session.version) return "version";
    session.heard(this.#deps.clock.monotonicMs());
    return head["kind"] === "bye" ? this.#onBye(session, head) : this.#deps.receive(session, part);
  }

  #onHeartbeat(head: Record<string, unknown>): DropCause | undefined {
    const heartbeat = heartbeatHeadSchema.safeParse(head);
    if (!heartbeat.success) return "schema";
    const { links, clock } = this.#deps;
    const { session: sessionId, link: nonce, from } = heartbeat.data;
    const session = links.ofSession(sessionId)?.session;
    const greeted = session === undefined ? links.greetedBy(nonce) : undefined;
    if (greeted !== undefined) greeted.open(heartbeat.data);
    else if (session?.dispatcherId === from) {
      session.heard(clock.monotonicMs());
      if (session.update(heartbeat.data)) links.regrantSoon();
    } else return "session";
    return undefined;
  }

  #onBye(session: WorkerSession, head: Record<string, unknown>): DropCause | undefined {
    const bye = byeHeadSchema.safeParse(head);
    if (!bye.success) return "schema";
    this.#deps.links.ofSession(session.id)?.receiveBye(bye.data);
    this.#deps.onBye();
    return undefined;
  }
}
