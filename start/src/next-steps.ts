import { relative } from "node:path";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import type { RunningSystem } from "@rs-agent/kit/system/system.ts";

/** What the last lines tell besides the system itself. */
export interface Surroundings {
  /** Our project: only there `npx` finds our commands. */
  root: string;
  runDir: string;
  /** The run folder is not the usual one, so the commands must be told. */
  isOwnRunDir: boolean;
  /** The usual port of SMTP was taken. */
  isOtherPort: boolean;
  /** The clamd is our private one, which knows only the test viruses. */
  hasTestSignatures: boolean;
  /** A mail to explain. */
  mailId: string | undefined;
  /** The networks whose clients send outgoing mail, by tenant. */
  outgoing: readonly { tenantId: string; networks: readonly string[] }[];
}

/** Who sends outgoing mail under these policies. */
export function outgoingNetworks(documents: readonly PolicyDocument[]): Surroundings["outgoing"] {
  return documents.flatMap((document) =>
    document.scope === "tenant" && document.networks !== undefined && document.networks.length > 0
      ? [{ tenantId: document.tenantId, networks: document.networks }]
      : [],
  );
}

/** The last lines of `npm start`: what runs where, and what to try. */
export function nextSteps(
  system: Pick<RunningSystem, "mongodb" | "nextHop" | "smtp" | "logsDir" | "clamd">,
  around: Surroundings,
): string {
  const { mongodb, nextHop, smtp, logsDir, clamd } = system;
  const { root, runDir, isOwnRunDir, isOtherPort, hasTestSignatures, mailId, outgoing } = around;
  const near = (path: string) => {
    const short = relative(root, path);
    return short.startsWith("..") ? path : short;
  };
  return [
    `SMTP listens on      ${smtp}${isOtherPort ? " (2525 is taken)" : ""}`,
    ...outgoing.slice(0, 3).map(outgoingLine),
    nextHop.maildir === undefined
      ? `Relayed mail goes to ${nextHop.address}`
      : `Relayed mail is in   ${near(nextHop.maildir)}/new`,
    `Logs are in          ${near(logsDir)}`,
    `Database             ${mongodb.server}`,
    ...(clamd === undefined ? [] : [`clamd                ${clamd} (npx clamav-cli asks it)`]),
    ...(hasTestSignatures
      ? ["Virus signatures     test viruses only; AV_CLAMD=HOST:PORT names a real clamd"]
      : []),
    "",
    `Try these in another terminal, in ${root}:`,
    ...(isOwnRunDir ? [`  export RS_AGENT_RUN_DIR=${runDir}`] : []),
    "  npx rs-agent status",
    "  npx rs-agent quarantine ls",
    ...(clamd === undefined ? [] : ["  npx clamav-cli scan README.md"]),
    mailId === undefined ? "  npx rs-agent find --since 1d" : `  npx rs-agent explain ${mailId}`,
    "",
    "Ctrl-C drains and stops.",
  ].join("\n");
}

function outgoingLine({ tenantId, networks }: Surroundings["outgoing"][number]): string {
  const [first = "", ...others] = networks;
  const more = others.length === 0 ? "" : ` and ${others.length} more`;
  return `Outgoing mail from   clients in ${first}${more}: tenant ${tenantId}`;
}
