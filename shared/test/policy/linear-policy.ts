import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { settingsHashOf } from "../../src/mail/task-settings.ts";
import { builtInNextHop, builtInRules } from "../../src/policy/built-in.ts";
import { compilePlan } from "../../src/policy/compile.ts";
import { completed, laidOver, type LayeredRules } from "../../src/policy/complete-rules.ts";
import type { PolicyDocument, TenantDocument } from "../../src/policy/document.ts";
import type { MailForPolicy, PlanQuery } from "../../src/policy/effective.ts";
import { normalAddress, normalDomain } from "../../src/mail/mail-domain.ts";
import type { Direction, Plan } from "../../src/mail/plan.ts";

/**
 * What docs/policy.md says, by looking through everything for each question, with nothing kept from
 * one question to the next. The book's answers are held to this.
 */
export function createLinearPolicy(documents: readonly PolicyDocument[]) {
  const tenants = documents.filter((document) => document.scope === "tenant");
  const ownerOf = (address: string): TenantDocument | undefined => {
    const domain = domainOf(address);
    return tenants.find(({ domains = [] }) => domain !== undefined && domains.includes(domain));
  };

  /** The tenant of the narrowest network that holds the address. */
  function homeOf(text: string): TenantDocument | undefined {
    if (isIP(text) === 0) return undefined;
    const address = ipaddr.process(text);
    let home: TenantDocument | undefined;
    let narrowest = -1;
    for (const tenant of tenants) {
      for (const entry of tenant.networks ?? []) {
        const [host = "", given] = entry.split("/");
        const network = ipaddr.process(host);
        if (network.kind() !== address.kind()) continue;
        const bits = given === undefined ? network.toByteArray().length * 8 : Number(given);
        if (!address.match(network, bits) || bits <= narrowest) continue;
        home = tenant;
        narrowest = bits;
      }
    }
    return home;
  }

  function directionOf(client: string, outgoing: boolean, tenantId?: string) {
    if (outgoing && tenantId !== undefined) return { direction: "outgoing" as const, tenantId };
    const home = homeOf(client)?.tenantId;
    if (home !== undefined) return { direction: "outgoing" as const, tenantId: home };
    return { direction: outgoing ? ("outgoing" as const) : ("incoming" as const) };
  }

  function chainOf({ direction, recipient, mailFrom, tenantId }: PlanQuery) {
    const subject = direction === "incoming" ? recipient : mailFrom;
    const owner = ownerOf(subject);
    const named = tenants.find((tenant) => tenant.tenantId === tenantId);
    const tenant = direction === "incoming" ? owner : named;
    const isOwn = tenant !== undefined && tenant === owner;
    const domain = domainOf(subject) ?? "";
    const normal = normalAddress(subject) ?? "";
    const base = withoutExtension(normal, tenant?.recipientDelimiter ?? "");
    const applies = ({ _id }: PolicyDocument) => {
      if (_id === "default" || _id === tenant?._id) return true;
      return isOwn && [`domain:${domain}`, `address:${base}`, `address:${normal}`].includes(_id);
    };
    const order = ["default", "tenant", "domain", "address"];
    const chain = documents
      .filter(applies)
      .sort(
        (a, b) => order.indexOf(a.scope) - order.indexOf(b.scope) || a._id.length - b._id.length,
      );
    return { tenant, chain };
  }

  function planFor(query: PlanQuery): Plan {
    const { direction, purpose = "mail" } = query;
    const { tenant, chain } = chainOf(query);
    const rules = completed(
      // Copies, so that nothing is shared with what was made before.
      structuredClone(chain).reduce<LayeredRules>(
        (under, document) => laidOver(under, document.rules, direction),
        builtInRules(direction, builtInNextHop),
      ),
    );
    const from = leavingFrom(query, rules.changes["sender-rewrite"]);
    const owner = from === undefined ? undefined : ownerOf(`@${from}`);
    const mayHaveKey = purpose === "dsn" || (direction === "outgoing" && owner === tenant);
    const key = mayHaveKey ? owner?.keys?.find(({ domain }) => domain === from) : undefined;
    const ids = chain.map(({ _id }) => _id).reverse();
    return compilePlan({
      policyIds: ids.length === 0 ? ["built-in"] : ids,
      revision: Math.max(0, ...chain.map(({ revision }) => revision)),
      tenantId: tenant?.tenantId,
      direction,
      rules,
      key,
      noKey: key === undefined && direction === "outgoing" && (tenant?.keys ?? []).length > 0,
      purpose,
    });
  }

  function queryFor(mail: MailForPolicy, recipient: string): PlanQuery {
    const { origin, smtp, header } = mail;
    const { fromDomain = "", fromAddresses } = header ?? {};
    const common = {
      mailFrom: smtp.mailFrom,
      headerFromDomain: normalDomain(fromDomain),
      headerFromAddresses: fromAddresses,
      recipient,
    };
    if (origin.via === "dsn") {
      const direction: Direction = ownerOf(recipient) === undefined ? "outgoing" : "incoming";
      const tenantId = ownerOf(`@${fromDomain}`)?.tenantId;
      return { ...common, direction, tenantId, purpose: "dsn" };
    }
    const way =
      origin.incoming === true
        ? { direction: "incoming" as const }
        : directionOf(smtp.client.address, origin.outgoing === true, origin.tenantId);
    return { ...common, ...way, purpose: origin.scanOnly === true ? "scan-only" : "mail" };
  }

  function groups(mail: MailForPolicy) {
    const found: { effect: string; plan: Plan; recipients: string[] }[] = [];
    const isOpen = ({ outcome = "open" }: { outcome?: string | undefined }) => outcome === "open";
    for (const { address } of mail.recipients.filter(isOpen)) {
      const plan = planFor(queryFor(mail, address));
      const effect = settingsHashOf({ ...plan, policyIds: [], revision: 0 });
      const group = found.find((one) => one.effect === effect);
      if (group === undefined) found.push({ effect, plan, recipients: [address] });
      else group.recipients.push(address);
    }
    const closed = mail.recipients.filter((one) => !isOpen(one)).map(({ address }) => address);
    found[0]?.recipients.push(...closed);
    return found.map(({ plan, recipients }) => ({ plan, recipients }));
  }

  return { directionOf, groups, owns: (address: string) => ownerOf(address) !== undefined };
}

function domainOf(address: string): string | undefined {
  return address.includes("@")
    ? normalDomain(address.slice(address.lastIndexOf("@") + 1))
    : undefined;
}

function withoutExtension(normal: string, delimiters: string): string {
  const at = normal.lastIndexOf("@");
  const local = normal.slice(0, at);
  if (local === "postmaster") return "";
  for (let end = 1; end < local.length; end += 1) {
    if (delimiters.includes(local.charAt(end))) return local.slice(0, end) + normal.slice(at);
  }
  return "";
}

/** The domain of the From that leaves, if there is exactly one. */
function leavingFrom(
  { headerFromDomain = "", headerFromAddresses, purpose }: PlanQuery,
  { enabled, map }: { enabled: boolean; map: Record<string, string> },
): string | undefined {
  if (!enabled || purpose !== "mail") return normalDomain(headerFromDomain);
  const leaving = (headerFromAddresses ?? [`@${headerFromDomain}`]).map((address) => {
    const rule = (name: string) =>
      Object.entries(map).find(([from]) => from.toLowerCase() === name.toLowerCase())?.[1];
    return rule(address) ?? rule(address.slice(address.lastIndexOf("@"))) ?? address;
  });
  const domains = leaving.map(domainOf);
  return new Set(domains).size === 1 ? domains[0] : undefined;
}
