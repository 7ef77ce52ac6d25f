import { TerminalError } from "@rs-agent/shared/errors.ts";
import { openFloodDatabase, ownDomains, type FloodDatabase } from "./database.ts";
import { Ledger } from "./ledger.ts";
import { createComposer, type Composer } from "./mails/composer.ts";
import { openCorpus } from "./mails/corpus.ts";
import type { Tenants } from "./mails/tenants.ts";
import { watchProcesses } from "./measure/processes.ts";
import { watchSystem, type SystemWatch } from "./measure/system-watch.ts";
import { Tally } from "./measure/tally.ts";
import type { FloodOptions } from "./options.ts";
import { createMongoSender } from "./senders/mongo-sender.ts";
import { Lanes } from "./senders/lanes.ts";
import type { Sender } from "./senders/sender.ts";
import { createSmtpSender } from "./senders/smtp-sender.ts";
import { startSink, type Sink } from "./sink.ts";
import { checkedTarget, checkMongoTarget } from "./target.ts";

/** Everything that a run is made of, opened and ready. */
export interface Parts {
  run: string;
  startedAt: Date;
  composer: Composer;
  ledger: Ledger;
  tally: Tally;
  sender: Sender;
  lanes: Lanes;
  sink: Sink | undefined;
  database: FloodDatabase | undefined;
  system: SystemWatch | undefined;
  processes: ReturnType<typeof watchProcesses>;
  close(): Promise<void>;
}

/**
 * Checks the targets before anything is opened.
 * @throws TerminalError CFG_TARGET, CFG_INVALID; RetryableError STORE_UNREACHABLE
 */
export async function openParts(options: FloodOptions, run: string): Promise<Parts> {
  const { isOwned } = options;
  const smtp =
    options.smtp === undefined ? undefined : await checkedTarget("--to", options.smtp, isOwned);
  const listen =
    options.sink === undefined ? undefined : await checkedTarget("--sink", options.sink, isOwned);
  if (smtp === undefined && options.database !== undefined)
    await checkMongoTarget(options.database.uri, isOwned);

  const opened: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const end of opened.splice(0).reverse()) await end();
  };
  try {
    const database =
      options.database === undefined ? undefined : await openFloodDatabase(options.database);
    if (database !== undefined) opened.push(() => database.close());
    const startedAt = new Date();
    const composer = createComposer({
      ...options,
      run,
      startedAt,
      tenants: await tenantsOf(options, database),
      corpus: options.corpus === undefined ? undefined : await openCorpus(options.corpus),
    });
    const ledger = new Ledger(options.recipients.high);
    const { mail, bytes } = composer;
    const tally = new Tally({ ledger, mail, hasSink: listen !== undefined });
    const onCopy = (number: number, address: string) => tally.copy(number, address);
    const sink = listen === undefined ? undefined : await startSink({ ...listen, run, onCopy });
    if (sink !== undefined) opened.push(() => sink.stop());
    const system = database === undefined ? undefined : await watchSystem(database.database);
    if (system !== undefined) opened.push(() => system.stop());
    const sender = senderOf(smtp, database, options);
    opened.push(() => sender.close());
    const lanes = new Lanes({
      sender,
      lanes: options.lanes,
      maxWaiting: options.maxWaiting,
      mail,
      bytes,
      onSent: (_, size) => tally.sent(size),
      onOutcome: (intended, outcome) => tally.outcome(intended, outcome),
      onCrowdedOut: (intended) => tally.crowdedOut(intended),
    });
    opened.push(() => lanes.close());
    const processes = watchProcesses([...options.processes, { name: "flood", pid: process.pid }]);
    opened.push(() => void processes.stop());
    return {
      ...{ run, startedAt, composer, ledger, tally, sender, lanes, sink, database, system },
      ...{ processes, close },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function senderOf(
  smtp: { host: string; port: number } | undefined,
  database: FloodDatabase | undefined,
  { replyWithinMs, smtp: named }: FloodOptions,
): Sender {
  if (smtp !== undefined) {
    const target = `smtp://${named?.host ?? smtp.host}:${smtp.port}`;
    return createSmtpSender({ ...smtp, name: "client.flood.example", replyWithinMs, target });
  }
  if (database === undefined) throw new Error("a flood without a target");
  return createMongoSender(database.database);
}

/** Without `--tenants`: the domains for which the system takes mail from everyone. */
async function tenantsOf(
  { tenants }: FloodOptions,
  database: FloodDatabase | undefined,
): Promise<Tenants> {
  if (tenants !== undefined) return tenants;
  const [first, ...others] = database === undefined ? [] : await ownDomains(database.database);
  if (first !== undefined) return [first, ...others];
  throw new TerminalError(
    "CFG_INVALID",
    "--tenants: for whom is the mail? No policy in the database names a tenant's domains" +
      (database === undefined ? " (no MONGODB_URI)" : ""),
  );
}
