import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** Is shown what one side of a connection sends, piece by piece, before the other side gets it. */
export type Look = (bytes: Buffer) => void;

/** A TCP proxy between two parts that can do to their connections what networks do. */
export interface Link {
  readonly name: string;
  /** `127.0.0.1:port`, the same for the link's whole life. */
  readonly address: string;
  /** Connections that are open now. */
  readonly open: number;
  /** Where new connections lead. */
  leadTo(address: string): void;
  /**
   * From now on, `look` makes a reader for each connection, which sees what comes from this side.
   */
  watch(from: "near" | "far", look: () => Look): void;
  /**
   * Passes nothing on, in either direction, until `heal`; nothing is lost, as if only packets were.
   */
  stall(): void;
  /** Ends all connections by RST; new ones are accepted. */
  reset(): void;
  /**
   * Tells one side of each connection that the other has ended, and drops what comes from there.
   */
  halfClose(side: "near" | "far"): void;
  /** Ends all connections by RST and refuses new ones until `heal`. */
  refuse(): Promise<void>;
  heal(): Promise<void>;
  close(): Promise<void>;
}

interface State {
  target: string;
  stalled: boolean;
  refusing: boolean;
  watches: { near?: () => Look; far?: () => Look };
}

interface Pair {
  near: Socket;
  far: Socket;
}

/** Starts a link that leads nowhere yet: until `leadTo`, it resets whatever connects. */
export async function openLink(name: string): Promise<Link> {
  const pairs = new Set<Pair>();
  const state: State = { target: "", stalled: false, refusing: false, watches: {} };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    if (state.target === "") near.resetAndDestroy();
    else join(pairs, near, state);
  });
  const port = await listen(server, 0);
  const end = () => {
    for (const { near, far } of pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  };
  return {
    name,
    address: `127.0.0.1:${port}`,
    get open() {
      return pairs.size;
    },
    leadTo: (address) => {
      state.target = address;
    },
    watch: (from, look) => {
      state.watches[from] = look;
    },
    stall: () => {
      state.stalled = true;
      for (const { near, far } of pairs) {
        near.pause();
        far.pause();
      }
    },
    reset: end,
    halfClose: (side) => {
      for (const pair of pairs) {
        const from = side === "near" ? pair.far : pair.near;
        from.removeAllListeners("data").resume();
        pair[side].end();
      }
    },
    refuse: async () => {
      if (state.refusing) return;
      state.refusing = true;
      const closed = once(server, "close");
      server.close();
      end();
      await closed;
    },
    heal: async () => {
      state.stalled = false;
      for (const { near, far } of pairs) {
        near.resume();
        far.resume();
      }
      if (!state.refusing) return;
      state.refusing = false;
      await listen(server, port);
    },
    close: async () => {
      end();
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}

async function listen(server: Server, port: number): Promise<number> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** Passes bytes on, with back-pressure, and ends as they end. */
function join(pairs: Set<Pair>, near: Socket, state: State): void {
  const [host, port] = state.target.split(":");
  const far = connect({
    host,
    port: Number(port),
    // The other side sees the real client: its address decides what mail is outgoing.
    localAddress: near.remoteAddress,
    allowHalfOpen: true,
    noDelay: true,
  });
  const pair = { near, far };
  pairs.add(pair);
  const pass = (side: "near" | "far") => {
    const [from, to] = side === "near" ? [near, far] : [far, near];
    let look: Look | undefined;
    from.on("data", (chunk: Buffer) => {
      look ??= state.watches[side]?.();
      look?.(chunk);
      if (!to.write(chunk)) from.pause();
    });
    to.on("drain", () => {
      if (!state.stalled) from.resume();
    });
    from.on("end", () => to.end());
    // A reset on one side becomes one on the other.
    from.on("error", () => to.resetAndDestroy());
    from.on("close", () => {
      to.destroySoon();
      pairs.delete(pair);
    });
  };
  pass("near");
  pass("far");
  if (state.stalled) {
    near.pause();
    far.pause();
  }
}
