import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { Long, MongoClient, ObjectId } from "mongodb";
import { ConnectionString } from "mongodb-connection-string-url";
import { refusalOf, type Fault } from "./fault.ts";
import { Line } from "./line.ts";
import type { Command } from "./wire-message.ts";

export interface Rule {
  /** The names of commands: `update`, `insert`, `find`, `aggregate`, `getMore`, … */
  command: string | readonly string[];
  collection?: string;
  /** Only commands for which this returns true. */
  when?: (command: Command) => boolean;
  /** How many commands it strikes; default 1. */
  times?: number;
  fault: Fault;
}

/** A rule in force. */
export interface Strike {
  /** How many commands it has struck. */
  readonly hits: number;
  /** Ends the rule. */
  end(): void;
}

/**
 * A MongoDB that fails as real ones do: a proxy in front of the tests' server that reads what
 * passes. It presents itself as a replica set of its own, so that clients discover it and wait for
 * its primary as they do in production.
 */
export interface MongoDbProxy extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly address: string;
  readonly uri: string;
  /** Commands on this collection that came in, whatever became of them. */
  seen(command: string, collection: string): number;
  strike(rule: Rule): Strike;
  /**
   * The primary has stepped down: writes and reads are refused, commands under way are interrupted,
   * and it calls itself a secondary until `restore`.
   */
  stepDown(): void;
  /** Ends all connections and refuses new ones until `restore`. */
  cut(): void;
  /** Ends all connections; new ones are accepted, as after a restart. */
  reset(): void;
  /**
   * Keeps all connections, but takes and passes nothing on until `restore`; then everything goes
   * on.
   */
  stall(): void;
  /** Keeps all connections and swallows what comes until `restore`. */
  silence(): void;
  /** Everything is as it should be again. */
  restore(): void;
  close(): Promise<void>;
}

type Mode = "open" | "cut" | "silent" | "stalled" | "stepped down";

export async function startMongoDbProxy(uri: string): Promise<MongoDbProxy> {
  const [target = ""] = new ConnectionString(uri).hosts;
  const lines = new Set<Line>();
  const strikes = new Set<{ rule: Rule; left: number; hits: number }>();
  const seen = new Map<string, number>();
  const state: { mode: Mode; counter: number } = { mode: "open", counter: 1 };
  const processId = new ObjectId();
  const topology = () => ({ processId, counter: Long.fromNumber(state.counter) });
  const nextTopology = () => {
    state.counter += 1;
    queueMicrotask(() => {
      for (const line of lines) line.tellTopology();
    });
    return topology();
  };

  const faultOf = (command: Command): Fault | undefined => {
    const key = `${command.name} ${command.collection ?? ""}`;
    seen.set(key, (seen.get(key) ?? 0) + 1);
    for (const strike of strikes) {
      if (strike.left <= 0 || !fits(strike.rule, command)) continue;
      strike.left -= 1;
      strike.hits += 1;
      return strike.rule.fault;
    }
    return state.mode === "stepped down" ? refusalOf(command) : undefined;
  };

  const server = createServer({ noDelay: true }, (near) => {
    near.on("error", () => near.destroy());
    if (state.mode === "cut") {
      near.destroy();
      return;
    }
    const line = new Line(near, target, {
      faultOf,
      topology,
      nextTopology,
      isSilent: () => state.mode === "silent",
      isSecondary: () => state.mode === "stepped down",
      address: () => address,
      onEnd: () => lines.delete(line),
    });
    lines.add(line);
    if (state.mode === "stalled") line.stall();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const reset = () => {
    for (const line of [...lines]) line.end();
  };
  const close = async () => {
    reset();
    server.close();
    await once(server, "close");
  };
  return {
    address,
    uri: `mongodb://${address}/?replicaSet=${await setNameOf(target)}`,
    seen: (command, collection) => seen.get(`${command} ${collection}`) ?? 0,
    strike(rule) {
      const strike = { rule, left: rule.times ?? 1, hits: 0 };
      strikes.add(strike);
      return {
        get hits() {
          return strike.hits;
        },
        end: () => {
          strikes.delete(strike);
        },
      };
    },
    stepDown() {
      state.mode = "stepped down";
      for (const line of lines) line.interrupt();
      nextTopology();
    },
    cut() {
      state.mode = "cut";
      reset();
    },
    reset,
    stall() {
      state.mode = "stalled";
      for (const line of lines) line.stall();
    },
    silence() {
      state.mode = "silent";
    },
    restore() {
      // What was swallowed is missing from the streams: only new connections make sense again.
      if (state.mode === "silent") reset();
      for (const line of lines) line.goOn();
      const wasDown = state.mode === "stepped down";
      state.mode = "open";
      if (wasDown) nextTopology();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function fits({ command, collection, when }: Rule, seen: Command): boolean {
  if (![command].flat().includes(seen.name)) return false;
  if (collection !== undefined && collection !== seen.collection) return false;
  return when === undefined || when(seen);
}

/**
 * The name of the replica set behind the proxy: a client that discovers a set asks for it by name.
 */
async function setNameOf(target: string): Promise<string> {
  await using client = new MongoClient(`mongodb://${target}/?directConnection=true`);
  const { setName } = await client.db("admin").command({ hello: 1 });
  return String(setName);
}
