import { DropCounter, type DropCause, type DropCounts } from "../bus/drop-counter.ts";
import { systemLookup, type Lookup } from "../bus/endpoint.ts";
import { busTiming, type BusTiming } from "../bus/timing.ts";
import { waitingHeadSchema, wireVersions } from "../bus/wire.ts";
import type { Clock } from "../clock.ts";
import { newToken } from "../ids.ts";
import type { Logger } from "../logger.ts";
import type { BusSettings } from "./config.ts";
import { watchDispatchers } from "./dispatcher-directory.ts";
import { DispatcherLinks } from "./dispatcher-links.ts";
import { LinkInbox } from "./link-inbox.ts";
import { openWorkerMailbox } from "./worker-mailbox.ts";

export interface WaitingListenerDeps {
  settings: BusSettings;
  /** Result sockets of the dispatchers; a name stands for all its addresses. */
  dispatchers: readonly string[];
  actorId: string;
  clock: Clock;
  log: Logger;
  /** Mail waits for this route, they say. Called in the loop that reads the socket. */
  onWaiting: (route: string, mailIds: readonly string[]) => void;
  /** A dispatcher tells us from now on: what it would have told before was missed. */
  onOpen: () => void;
  timing?: BusTiming;
  lookup?: Lookup;
}

/** What a relay hears from dispatchers: hints, and never more (I6). */
export interface WaitingListener {
  /** Dispatchers that tell us now. */
  readonly sessions: number;
  dropped(): DropCounts;
  /** Peers that the mailbox refused. */
  refused(): number;
  /** Settles when it is closed; rejects with what ended it. */
  readonly done: Promise<void>;
  /** Takes leave of the dispatchers, so that they tell others. */
  close(): Promise<void>;
}

/** A hint has a head and no body. */
const maxMailBytes = 0;
const noCredit = { tasks: 0, bytes: 0 };

/** @throws TerminalError CFG_INVALID, CFG_BUS_KEYS, CFG_BUS_UNPROTECTED, BUS_ADDRESS; RetryableError BUS_BIND */
export function listenForWaiting(deps: WaitingListenerDeps): WaitingListener {
  const { settings, dispatchers, actorId, clock, log, onWaiting, onOpen } = deps;
  const { timing = busTiming, lookup = systemLookup } = deps;
  const opened = openWorkerMailbox(settings, { task: "relay", maxMailBytes, clock, log });
  const { protection, mailbox } = opened;
  const drops = new DropCounter(clock, log);
  const ended = new AbortController();
  const failed = Promise.withResolvers<never>();
  const links = new DispatcherLinks({
    clock,
    heartbeatMs: timing.heartbeatMs,
    link: {
      workerId: actorId,
      incarnation: newToken(),
      task: "relay",
      versions: wireVersions,
      bound: mailbox.endpoint,
      advertise: settings.BUS_ADVERTISE,
      maxWaitingBytes: 1,
      protection,
      clock,
      log,
      timing,
      self: () => ({ engine: undefined, spools: [], unable: undefined }),
      onFatal: failed.reject,
    },
    capacity: () => noCredit,
    onSessionOpen: onOpen,
    onSessionEnd: () => undefined,
  });
  protection.keys?.onChange(() => links.recheckKeys());
  const receive = (head: Record<string, unknown>): DropCause | undefined => {
    if (head["kind"] !== "waiting") return "kind";
    const waiting = waitingHeadSchema.safeParse(head);
    if (!waiting.success) return "schema";
    onWaiting(waiting.data.route, waiting.data.mails);
    return undefined;
  };
  const inbox = new LinkInbox({
    versions: wireVersions,
    links,
    drops,
    clock,
    receive: (_session, { head }) => receive(head),
    onBye: () => undefined,
  });
  const timer = setInterval(() => links.tick(), timing.heartbeatMs);
  const directory = { dispatchers, everyMs: timing.resolveMs, lookup, protection, log };
  const onResolved = (endpoints: ReadonlySet<string>) => links.reconcile(endpoints);
  const running = Promise.all([
    watchDispatchers({ ...directory, onResolved }, ended.signal),
    inbox.read(mailbox),
  ]).then(() => undefined);
  let closing: Promise<void> | undefined;
  const close = async () => {
    ended.abort();
    clearInterval(timer);
    await links.part();
    mailbox.close();
    protection.close();
    await running.catch(() => undefined);
  };
  return {
    get sessions() {
      return links.all().filter(({ isOn }) => isOn).length;
    },
    dropped: () => drops.snapshot(),
    refused: () => mailbox.refused,
    done: Promise.race([running, failed.promise]),
    close: () => (closing ??= close()),
  };
}
