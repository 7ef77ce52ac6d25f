import { createSocket } from "node:dgram";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReverseResolver } from "../src/reverse-lookup.ts";
import { startNameServer } from "@rs-agent/kit/name-server.ts";

describe("the name of a client", () => {
  let server: Awaited<ReturnType<typeof startNameServer>>;
  beforeAll(async () => {
    server = await startNameServer({
      "PTR 7.2.0.192.in-addr.arpa": ["mx.honest.example"],
      "A mx.honest.example": ["192.0.2.9", "192.0.2.7"],
      "PTR 8.2.0.192.in-addr.arpa": ["mail.bank.example"],
      "A mail.bank.example": ["198.51.100.1"],
    });
  });
  afterAll(() => server.close());

  const nameOf = (address: string, servers = [server.address]) =>
    new Promise<string[] | undefined>((resolve) => {
      createReverseResolver(servers).reverse(address, (_error, names) => resolve(names));
    });

  it("is its PTR if that leads back to it", async () => {
    expect(await nameOf("192.0.2.7")).toEqual(["mx.honest.example"]);
    expect(await nameOf("::ffff:192.0.2.7")).toEqual(["mx.honest.example"]);
  });

  it("is not a name that its owner only claims", async () => {
    expect(await nameOf("192.0.2.8")).toEqual([]);
  });

  it("is none if there is no PTR", async () => {
    expect(await nameOf("192.0.2.10")).toEqual([]);
  });

  it("is none, and soon, if no name server answers", async () => {
    const silent = createSocket("udp4").bind(0, "127.0.0.1");
    await once(silent, "listening");
    const begun = Date.now();
    expect(await nameOf("192.0.2.7", [`127.0.0.1:${silent.address().port}`])).toEqual([]);
    // Without our limit the resolver asks four times, for 5 s or longer each.
    expect(Date.now() - begun).toBeLessThan(15_000);
    silent.close();
  });

  it("is localhost on loopback, without asking", async () => {
    expect(await nameOf("127.0.0.2")).toEqual(["localhost"]);
  });
});
