import { isIP } from "node:net";
import { InvalidArgumentError, type Command } from "commander";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { domainOf } from "@rs-agent/shared/mail/smtp-envelope.ts";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import { formatDuration } from "@rs-agent/shared/duration.ts";
import {
  createPolicyBook,
  type Direction,
  type PolicyBook,
} from "@rs-agent/shared/policy/effective.ts";
import { askedIn, checksOf } from "@rs-agent/shared/checks/asked.ts";
import type { UncheckedRules } from "@rs-agent/shared/checks/consequence.ts";
import { checkOf, type CheckKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { formatPolicyYaml, parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { withDatabase, type CliDeps } from "../session.ts";
import { differenceLines, listed, lostTenants, policyDifference } from "../policy-difference.ts";
import { createProgress } from "../progress.ts";
import { counted, field } from "../terminal.ts";
import { withoutKeys } from "../without-keys.ts";

export function addPolicy(program: Command, deps: CliDeps): void {
  const group = program.command("policy");
  group
    .command("apply")
    .description("check a whole policy file and store it in place of the stored policy")
    .argument("<file>", "YAML (docs/policy.md); - is standard input")
    .option("--dry-run", "check only, and say what would change if MONGODB_URI is set")
    .option("--yes", "even if tenants of the stored policy are not in the file")
    .action((file: string, options: ApplyOptions) => apply(deps, file, options));
  group
    .command("show")
    .description("the stored policy, as a policy file")
    .option("--with-keys", "with private keys that are in the database")
    .option("--json", "print the documents as JSON")
    .action(async (options: { withKeys?: true; json?: true }) => {
      const documents = await withDatabase(deps, ({ database }) => database.policies.all());
      const isMasked = options.withKeys !== true;
      if (options.json === true) deps.output.json(isMasked ? withoutKeys(documents) : documents);
      else if (documents.length === 0) {
        deps.output.print(
          "# no policy is stored: the built-in rules apply, and no mail is accepted",
        );
      } else deps.output.print(formatPolicyYaml(documents, { maskKeys: isMasked }).trimEnd());
    });
  addTest(group, deps);
}

interface ApplyOptions {
  dryRun?: true;
  yes?: true;
}

async function apply(deps: CliDeps, file: string, { dryRun, yes }: ApplyOptions): Promise<void> {
  const tellProgress = createProgress((text) => deps.output.complain(text));
  const documents = await readPolicyFile(deps, file);
  const names = counted(documents.length, "document");
  tellProgress(`${file} is right: ${names}`);
  const { MONGODB_URI: uri = "", MONGODB_URI_FILE: uriFile = "" } = deps.env;
  if (dryRun === true && uri + uriFile === "") {
    deps.output.tell(`${file} is right: ${names}, not stored`);
    return;
  }
  await withDatabase(deps, async ({ database: { policies } }) => {
    const stored = await policies.all();
    tellProgress(`${counted(stored.length, "document")} stored so far`);
    const difference = policyDifference(stored, documents);
    const lines = differenceLines(difference);
    const tenants = lostTenants(difference);
    if (dryRun === true) {
      const changes = lines.length === 0 ? ["nothing would change"] : lines;
      deps.output.tell([`${file} is right: ${names}, not stored`, ...changes].join("\n"));
      return;
    }
    if (tenants.length > 0 && yes !== true) {
      const which = `${tenants.length === 1 ? "tenant" : "tenants"} ${listed(tenants)}`;
      const text = `${which} of the stored policy would be removed; --yes applies it`;
      throw new TerminalError("CLI_REFUSED", [text, ...lines].join("\n"));
    }
    const revision = await policies.replace(documents, {
      onProgress: ({ done, total }) =>
        tellProgress(`${String(done)} of ${counted(total, "document")} written`),
    });
    deps.output.tell([`${names} stored as revision ${String(revision)}`, ...lines].join("\n"));
  });
}

interface TestOptions {
  from: string;
  to: string;
  /** It decides whether the mail is outgoing. */
  ip: string;
  headerFrom?: string;
  /** The listener's tenant, if it names one. */
  outgoing?: true | string;
  file?: string;
  json?: true;
}

function addTest(group: Command, deps: CliDeps): void {
  group
    .command("test")
    .description(
      "which policy a mail would get, and what it would do; --from, --to and --ip are needed",
    )
    .option("--from <address>", 'SMTP sender; "" is the null sender', parseSender)
    .option("--to <address>", "recipient", parseAddress)
    .option(
      "--ip <address>",
      "the client's address, which decides whether the mail is outgoing",
      parseClient,
    )
    .option("--header-from <address>", "the header From (default: the SMTP sender)")
    .option(
      "--outgoing [tenant]",
      "the mail comes in through a listener for outgoing mail (of this tenant)",
    )
    .option("--file <file>", "use this file instead of the stored policy")
    .option("--json", "print the plan as JSON")
    .action(async (given: Partial<TestOptions>, command: Command) => {
      const options = withAll(given, command);
      const documents = await documentsFor(deps, options);
      const nextHop = deps.env.RELAY_NEXT_HOP;
      const book = createPolicyBook(documents, nextHop === undefined ? {} : { nextHop });
      const result = testPolicy(book, options);
      if (options.json === true) deps.output.json(withoutKeys(result));
      else deps.output.print(formatTest(result));
    });
}

/** Names all missing options in one message. */
function withAll(given: Partial<TestOptions>, command: Command): TestOptions {
  const { from, to, ip } = given;
  if (from !== undefined && to !== undefined && ip !== undefined) return { ...given, from, to, ip };
  const missing = (["from", "to", "ip"] as const).filter((name) => given[name] === undefined);
  const text = `policy test also needs ${missing.map((name) => `--${name} <address>`).join(", ")}`;
  return command.error(`error: ${text}`);
}

function parseAddress(text: string): string {
  if (/^[^\s@].*@[^\s@]+$/.test(text) || text.toLowerCase() === "postmaster") return text;
  throw new InvalidArgumentError("It must be an address such as a@example.com.");
}

function parseSender(text: string): string {
  return text === "" || text === "<>" ? "" : parseAddress(text);
}

function parseClient(text: string): string {
  if (isIP(text) !== 0) return text;
  throw new InvalidArgumentError("It must be an IP address.");
}

async function documentsFor(deps: CliDeps, { file }: TestOptions): Promise<PolicyDocument[]> {
  if (file !== undefined) return readPolicyFile(deps, file);
  return withDatabase(deps, ({ database }) => database.policies.all());
}

/** @throws TerminalError CFG_POLICY_INVALID naming each wrong line */
async function readPolicyFile(deps: CliDeps, file: string): Promise<PolicyDocument[]> {
  const text = (await deps.readInput(file)).toString("utf8");
  return parsePolicyYaml(text, file === "-" ? "standard input" : file);
}

interface Tested {
  direction: Plan["direction"];
  tenantId: string | undefined;
  isAccepted: boolean;
  /** Why ingest would refuse the mail. */
  refusal?: string;
  plan: Plan;
}

function testPolicy(book: PolicyBook, options: TestOptions): Tested {
  const { from, to, ip, headerFrom = from } = options;
  const { outgoing } = options;
  const tenant = typeof outgoing === "string" ? outgoing : undefined;
  const way = book.directionOf(ip, outgoing !== undefined, tenant);
  const isAddress = headerFrom.includes("@");
  const plan = book.planFor({
    ...way,
    mailFrom: from,
    headerFromDomain: isAddress ? domainOf(headerFrom) : headerFrom,
    ...(isAddress && { headerFromAddresses: [headerFrom] }),
    recipient: to,
  });
  const refusal = refusalOf(book, way.direction, to, tenant);
  return {
    direction: way.direction,
    tenantId: plan.tenantId,
    isAccepted: refusal === undefined,
    ...(refusal !== undefined && { refusal }),
    plan,
  };
}

/** As ingest answers at MAIL and at RCPT (docs/ingest.md). */
function refusalOf(book: PolicyBook, direction: Direction, to: string, tenant: string | undefined) {
  if (tenant !== undefined && !book.hasTenant(tenant)) {
    return `no policy has the tenant ${tenant}: 451 4.3.5`;
  }
  if (book.acceptsRecipient(to, direction)) return undefined;
  return `${direction} mail, and ${to} is in no tenant's domain: 550 5.7.1`;
}

function formatTest({ direction, tenantId, refusal, plan }: Tested): string {
  const tenant = tenantId === undefined ? "no tenant" : `tenant ${tenantId}`;
  if (refusal !== undefined) return field("refused", refusal);
  const signature = plan.demandedSignature;
  const { host, port, protocol, sourceAddress, tls } = plan.route;
  const source = sourceAddress === undefined ? "" : ` from ${sourceAddress}`;
  const { relay } = plan;
  return [
    field("direction", `${direction}, ${tenant}`),
    field("policy", `${plan.policyIds.join(" over ")}, revision ${String(plan.revision)}`),
    field("order", plan.order),
    ...checksOf({ plan, verdicts: {} }).map((check) => field(check, checkText(plan, check))),
    field("changes", plan.enrich?.settings.changes.map(({ kind }) => kind).join(", ") ?? "none"),
    field(
      "signature",
      signature === undefined ? noSignature(plan) : `d=${signature.domain} s=${signature.selector}`,
    ),
    field("route", `${protocol} ${host}:${String(port)}${source}, TLS ${tls}`),
    field(
      "relay",
      `retries after ${relay.retryMs.map(formatDuration).join(", ")}; ${plan.direction === "incoming" ? "held" : "bounces"} after ` +
        `${formatDuration(relay.maxQueueMs)}; outcome unknown: ${relay.onUnknown}`,
    ),
  ].join("\n");
}

function noSignature({ enrich }: Plan): string {
  const hasOtherKeys = enrich?.settings.noKey === true;
  return hasOtherKeys ? "none: the tenant has no key for the From that leaves" : "none";
}

function checkText(plan: Plan, check: CheckKind): string {
  const asked = askedIn(plan, check);
  if (asked === undefined) return "off";
  return `${checkOf(check).rulesText(asked)}; ${uncheckedText(asked.unchecked)}`;
}

/** Groups reasons that have the same rule. */
function uncheckedText(rules: UncheckedRules): string {
  const byRule = new Map<string, string[]>();
  for (const [reason, { action, waitMs = 0, then = "quarantine" }] of Object.entries(rules)) {
    const rule = action === "wait" ? `wait ${formatDuration(waitMs)}, then ${then}` : action;
    byRule.set(rule, [...(byRule.get(rule) ?? []), reason]);
  }
  const texts = [...byRule].map(([rule, reasons]) => `${reasons.join(", ")}: ${rule}`);
  return `unchecked ${texts.join("; ")}`;
}
