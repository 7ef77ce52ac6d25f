import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { createPolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { diagnoseHops } from "../src/doctor/next-hops.ts";
import type { SeenSystem } from "../src/seen-system.ts";

const quiet: SeenSystem = {
  ...{
    services: [],
    workers: [],
    demand: [],
    routes: [],
    overloads: [],
    paused: [],
    ownChecks: [],
  },
};

/** An SMTP server that sends this greeting and EHLO reply; `heard` has what it was told. */
async function startHop(banner: string, ehlo: string) {
  const heard: string[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.write(`${banner}\r\n`);
    socket.setEncoding("utf8").on("data", (text: string) => {
      heard.push(...text.trimEnd().split("\r\n"));
      if (/^(?:EHLO|LHLO)/.test(text)) socket.write(ehlo.replaceAll("\n", "\r\n"));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, heard };
}

async function diagnosed(route: string, nextHop: string, system = quiet, isAssumed = false) {
  const documents = parsePolicyYaml(
    `tenants: { t: { domains: [t.example], rules: { route: ${route} } } }`,
    "p.yaml",
  );
  const book = createPolicyBook(documents, { nextHop });
  return diagnoseHops(documents, book, system, { ourName: "gw.example", isAssumed });
}

const offers = "250-hop.example\n250-SIZE 1000\n250-STARTTLS\n250-X-OWN\n250 8BITMIME\n";

test("each hop of the policy is asked once, and its offers are on its line", async () => {
  const [one, two] = [
    await startHop("220 hi", offers),
    await startHop("220-a\r\n220 b", "250 x\n"),
  ];
  const seen = await diagnosed(`{ nextHop: "${two.address}", protocol: lmtp }`, one.address);
  expect(seen).toEqual([
    {
      ...{ part: "next hop", ok: true },
      found: `smtp ${one.address}: offers SIZE 1000, STARTTLS, 8BITMIME`,
    },
    {
      ...{ part: "next hop", ok: true },
      found: `lmtp ${two.address}: offers nothing beyond RFC 5321`,
    },
  ]);
  await expect.poll(() => one.heard).toEqual(["EHLO gw.example", "QUIT"]);
  await expect.poll(() => two.heard).toEqual(["LHLO gw.example", "QUIT"]);
});

test.each([
  ["no SMTP", "HTTP/1.1 400 Bad Request", /it answers HTTP|no answer within/],
  ["no service", "554 go away", /it answers 554 go away$/],
])("a hop that speaks %s is not well", async (_what, banner, found) => {
  const hop = await startHop(banner, "");
  const seen = await diagnosed("{}", hop.address);
  expect(seen).toMatchObject([{ part: "next hop", ok: false }]);
  expect(seen[0]?.found).toMatch(found);
});

test("a hop that cannot be reached is not well, or unknown if nobody named it", async () => {
  const named = await diagnosed("{}", "127.0.0.1:1");
  expect(named).toMatchObject([{ ok: false }]);
  expect(named[0]?.found).toContain("ECONNREFUSED");
  const assumed = await diagnosed("{}", "127.0.0.1:1", quiet, true);
  expect(assumed).toMatchObject([{ ok: true, unknown: true }]);
  expect(assumed[0]?.advice).toContain("RELAY_NEXT_HOP is not set here");
});

test("a hop without the TLS that policy demands is not well", async () => {
  const hop = await startHop("220 hi", "250-x\n250 SIZE\n");
  const seen = await diagnosed(`{ nextHop: "${hop.address}", tls: required }`, hop.address);
  const demanding = seen.find(({ advice }) => advice !== undefined);
  expect(demanding).toMatchObject({ ok: false });
  expect(demanding?.advice).toContain("policy demands TLS there");
});

test("what a relay meets there is on the same line, so that nothing contradicts it", async () => {
  const hop = await startHop("220 hi", offers);
  const failing = {
    ...{ route: `${hop.address}|192.0.2.1`, heldMails: 3, openSessions: 0, relay: "relay-1" },
    failure: "connect ETIMEDOUT",
  };
  const other = { ...failing, route: "192.0.2.9:25|", failure: "454 no TLS" };
  const seen = await diagnosed("{}", hop.address, { ...quiet, routes: [failing, other] });
  expect(seen.map(({ ok, found }) => [ok, found])).toEqual([
    [
      false,
      `smtp ${hop.address}: offers SIZE 1000, STARTTLS, 8BITMIME; relay-1 cannot send there: connect ETIMEDOUT`,
    ],
    [false, "relay-1 to 192.0.2.9:25: 454 no TLS"],
  ]);
  expect(seen[0]?.advice).toContain("it answers from here");
});
