import { messageOf, RsError } from "@rs-agent/shared/errors.ts";
import { createDns } from "@rs-agent/shared/mail/authentication/dns.ts";
import { createPolicyBook, type PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { rsAgent } from "../called-as.ts";
import { readSystem } from "../seen-system.ts";
import { withDatabase, type CliDeps } from "../session.ts";
import { counted } from "../terminal.ts";
import type { Diagnosis } from "./diagnosis.ts";
import { diagnoseKeys } from "./dkim-keys.ts";
import { diagnoseClock, diagnoseDisk } from "./host.ts";
import { diagnoseHops } from "./next-hops.ts";
import { diagnoseServices } from "./services.ts";

/** What the database and its users say, and whether what its policy needs is there. */
export async function diagnoseSystem(
  deps: CliDeps,
  folders: readonly string[],
): Promise<Diagnosis[]> {
  try {
    return await withDatabase(deps, async ({ database, config }) => {
      await database.ping();
      const { documents, book, diagnosis } = await readPolicy(database, config.RELAY_NEXT_HOP);
      const system = await readSystem(database);
      const asking = {
        ourName: config.MAIL_HOSTNAME,
        isAssumed: config.RELAY_NEXT_HOP === undefined,
      };
      const { DNS_SERVERS: servers, DNS_TIMEOUT_MS: timeoutMs } = config;
      const dns = createDns({ servers, timeoutMs });
      const [disk, hops, keys] = await Promise.all([
        diagnoseDisk(database, folders),
        diagnoseHops(documents, book, system, asking),
        diagnoseKeys(documents, dns),
      ]);
      return [
        { part: "database", ok: true, found: database.server },
        ...disk,
        diagnoseClock(database.clock, new Date()),
        diagnosis,
        ...diagnoseServices(system),
        ...hops,
        ...keys,
      ];
    });
  } catch (error) {
    const advice = adviceFor(error, deps.env);
    return [{ part: "database", ok: false, found: messageOf(error), advice }];
  }
}

function adviceFor(error: unknown, env: NodeJS.ProcessEnv): string {
  const { MONGODB_URI: uri = "", MONGODB_URI_FILE: uriFile = "" } = env;
  if (uri + uriFile === "") {
    return "set MONGODB_URI as the services have it; a running npm start is found only in its own folder";
  }
  if (error instanceof RsError && error.code === "CFG_INVALID") return "correct this";
  return (
    "is mongod running, is MONGODB_URI right, and is it a replica set? Mail is not lost: ingest " +
    "answers 451 and senders try again"
  );
}

interface ReadPolicy {
  documents: PolicyDocument[];
  book: PolicyBook;
  diagnosis: Diagnosis;
}

async function readPolicy(
  { policies }: Pick<Database, "policies">,
  nextHop: string | undefined,
): Promise<ReadPolicy> {
  const options = nextHop === undefined ? {} : { nextHop };
  const part = "policy";
  try {
    const documents = await policies.all();
    const book = createPolicyBook(documents, options);
    const found = `${counted(documents.length, "document")}, revision ${String(book.revision)}`;
    const isAccepting = documents.some(
      (document) => document.scope === "tenant" && (document.domains ?? []).length > 0,
    );
    if (isAccepting) return { documents, book, diagnosis: { part, ok: true, found } };
    const advice = `no tenant has a domain, so all incoming mail is refused: ${rsAgent} policy apply FILE`;
    return { documents, book, diagnosis: { part, ok: false, found, advice } };
  } catch (error) {
    if (!(error instanceof RsError) || !error.code.startsWith("CFG_")) throw error;
    const advice = "services keep the last valid policy; apply a correct one";
    const diagnosis = { part, ok: false, found: messageOf(error), advice };
    return { documents: [], book: createPolicyBook([], options), diagnosis };
  }
}
