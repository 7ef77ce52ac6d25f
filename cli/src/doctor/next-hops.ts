import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import { routeText, type SeenSystem } from "../seen-system.ts";
import { counted } from "../terminal.ts";
import type { Diagnosis } from "./diagnosis.ts";
import { eachOf } from "./each-of.ts";
import { askGreeting, type Greeting } from "./smtp-greeting.ts";

const part = "next hop";
const timeoutMs = 5_000;
/** More hops are not asked. */
const mostHops = 100;

export interface HopAsking {
  /** The EHLO name. */
  ourName: string;
  /**
   * RELAY_NEXT_HOP is not set here. Where policy names no next hop, the dispatchers may have
   * another.
   */
  isAssumed: boolean;
}

/**
 * Each next hop of the policy: does it answer from here, what does it offer, and can the relays
 * deliver to it? One line per hop, so that nothing said about it contradicts another line.
 */
export async function diagnoseHops(
  documents: readonly PolicyDocument[],
  book: PolicyBook,
  system: SeenSystem,
  { ourName, isAssumed }: HopAsking,
): Promise<Diagnosis[]> {
  const all = routesOf(documents, book);
  const routes = all.slice(0, mostHops);
  const own = hopOf(routeFor(book));
  const seen = await eachOf(routes, async (route) => {
    const { host, port, protocol, helo = ourName } = route;
    const greeting = await askGreeting({ host, port, protocol, name: helo, timeoutMs });
    const isOwn = isAssumed && hopOf(route) === own;
    return judge(route, greeting, failuresAt(route, system), isOwn);
  });
  const asked = new Set(routes.map(hopOf));
  const others = system.routes.filter(
    ({ route }) => !asked.has(routeText(route).split(" ")[0] ?? ""),
  );
  const more = all.length - routes.length;
  return [
    ...seen,
    // Hops of an earlier policy, or of a setting that is not known here.
    ...others.flatMap(({ route, relay, failure }) => {
      if (failure == null) return [];
      const hop = routeText(route);
      const advice = `is the server at ${hop} up, and does it take mail from there? Mail waits until then`;
      return [{ part, ok: false, found: `${relay} to ${hop}: ${failure}`, advice }];
    }),
    ...(more === 0
      ? []
      : [{ part, ok: true, unknown: true as const, found: `${counted(more, "hop")} not asked` }]),
  ];
}

/** All ways out, each once. */
function routesOf(documents: readonly PolicyDocument[], book: PolicyBook): Route[] {
  const routes = [routeFor(book), ...documents.flatMap((document) => waysOf(document, book))];
  const byKey = new Map(
    routes.map((route) => [`${hopOf(route)} ${route.protocol} ${route.tls}`, route]),
  );
  return [...byKey.values()];
}

function waysOf(document: PolicyDocument, book: PolicyBook): Route[] {
  const name = document._id.slice(document._id.indexOf(":") + 1);
  switch (document.scope) {
    case "default":
      return [];
    case "tenant": {
      const { tenantId, domains = [] } = document;
      const [domain] = domains;
      const outgoing = routeFor(book, { tenantId });
      return domain === undefined ? [outgoing] : [routeFor(book, { to: `x@${domain}` }), outgoing];
    }
    case "domain":
      return [routeFor(book, { to: `x@${name}` })];
    case "address":
      return [routeFor(book, { to: name })];
  }
}

/** The route of mail to `to`, or from a tenant; without both, of mail that belongs to nobody. */
function routeFor(
  book: PolicyBook,
  { to, tenantId }: { to?: string; tenantId?: string } = {},
): Route {
  const recipient = to ?? "x@elsewhere.invalid";
  const way =
    tenantId === undefined
      ? { direction: "incoming" as const }
      : { direction: "outgoing" as const, tenantId };
  return book.planFor({ ...way, mailFrom: "", recipient }).route;
}

function hopOf({ host, port }: Pick<Route, "host" | "port">): string {
  return `${host.includes(":") ? `[${host}]` : host}:${String(port)}`;
}

function failuresAt(route: Route, { routes }: SeenSystem): string[] {
  const hop = hopOf(route);
  return routes.flatMap(({ route: key, relay, failure }) =>
    failure != null && key.split("|")[0] === hop ? [`${relay} cannot send there: ${failure}`] : [],
  );
}

/** What operators look for in an EHLO reply; AUTH with its mechanisms. */
const notable =
  /^(?:SIZE|8BITMIME|STARTTLS|SMTPUTF8|DSN|PIPELINING|CHUNKING|AUTH|ENHANCEDSTATUSCODES)\b/i;

function judge(
  { protocol, tls, ...route }: Route,
  greeting: Greeting,
  failures: readonly string[],
  isAssumed: boolean,
): Diagnosis {
  const hop = hopOf(route);
  if (greeting.kind === "no") {
    const found = [`${protocol} ${hop}: ${greeting.reason}`, ...failures].join("; ");
    if (isAssumed) {
      const advice =
        "RELAY_NEXT_HOP is not set here: this is what dispatchers assume where policy names no next hop";
      return { part, ok: failures.length === 0, unknown: true, found, advice };
    }
    const advice = `is the server at ${hop} up? Where relays run on other hosts, ask there; mail waits until then`;
    return { part, ok: false, found, advice };
  }
  const offers = greeting.offers.filter((line) => notable.test(line));
  const offered =
    offers.length === 0 ? "offers nothing beyond RFC 5321" : `offers ${offers.join(", ")}`;
  const hasTls = route.port === 465 || offers.some((line) => /^STARTTLS$/i.test(line));
  const found = [`${protocol} ${hop}: ${offered}`, ...failures].join("; ");
  if (tls === "required" && !hasTls) {
    const advice =
      "policy demands TLS there, but the hop does not offer it: mail waits until it does";
    return { part, ok: false, found, advice };
  }
  if (failures.length > 0) {
    const advice =
      "it answers from here: does it take mail from the relay's host? Mail waits until then";
    return { part, ok: false, found, advice };
  }
  return { part, ok: true, found };
}
