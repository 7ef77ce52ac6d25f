import { createServer, connect, type Socket } from "node:net";

/** A TCP relay before the database that can fail as networks do. */
export interface FaultyNetwork {
  /** The database's URI through this relay. */
  uri: string;
  /** Ends all connections now; new ones are taken. */
  cut(): void;
  /** Requests still arrive, but the answer to the next one of this command is lost with its connection. */
  loseReplyTo(command: string): void;
  /** How many replies were lost so. */
  readonly lost: number;
  /** Refuses connections until `heal`. */
  partition(): void;
  heal(): void;
  close(): Promise<void>;
}

/** Puts a relay on a free port in front of the server of `uri`. */
export async function startFaultyNetwork(uri: string): Promise<FaultyNetwork> {
  const { host } = new URL(uri);
  const [hostname = "127.0.0.1", port = "27017"] = host.split(":");
  const pairs = new Set<[Socket, Socket]>();
  let doomed: string | undefined;
  let lost = 0;
  let isPartitioned = false;
  const server = createServer((near) => {
    if (isPartitioned) {
      near.destroy();
      return;
    }
    const far = connect(Number(port), hostname);
    const pair: [Socket, Socket] = [near, far];
    pairs.add(pair);
    let isDoomed = false;
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    near.on("data", (chunk) => {
      if (doomed !== undefined && chunk.includes(`\x02${doomed}\0`)) {
        doomed = undefined;
        isDoomed = true;
      }
      far.write(chunk);
    });
    far.on("data", (chunk) => {
      if (!isDoomed) {
        near.write(chunk);
        return;
      }
      lost += 1;
      end();
    });
    for (const socket of pair) {
      socket.on("error", end);
      socket.on("close", end);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const cut = () => {
    for (const [near, far] of pairs) {
      near.destroy();
      far.destroy();
    }
  };
  return {
    uri: `mongodb://127.0.0.1:${address.port}/?directConnection=true&serverSelectionTimeoutMS=1500`,
    cut,
    loseReplyTo: (command) => {
      doomed = command;
    },
    get lost() {
      return lost;
    },
    partition: () => {
      isPartitioned = true;
      cut();
    },
    heal: () => {
      isPartitioned = false;
    },
    close: async () => {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
