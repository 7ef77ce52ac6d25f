import { describe, expect, it } from "vitest";
import { checkedTarget, checkMongoTarget, isLoopback, parseSmtpUrl } from "../src/target.ts";

describe("the target of a flood", () => {
  it.each(["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])("may be %s", async (host) => {
    expect(isLoopback(host)).toBe(true);
    const target = { host, port: 25 };
    expect(await checkedTarget("--to", target, false)).toEqual(target);
  });

  it.each(["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0", "128.0.0.1"])(
    "is refused at %s, unless somebody says that it is theirs",
    async (host) => {
      const target = { host, port: 25 };
      await expect(checkedTarget("--to", target, false)).rejects.toMatchObject({
        code: "CFG_TARGET",
        message: expect.stringContaining("--i-own-this-target") as string,
      });
      expect(await checkedTarget("--to", target, true)).toEqual(target);
    },
  );

  it("is resolved first, and the address that was checked is the one that is used", async () => {
    expect(await checkedTarget("--to", { host: "localhost", port: 25 }, false)).toEqual({
      host: expect.stringMatching(/^(127\.0\.0\.1|::1)$/) as string,
      port: 25,
    });
    await expect(
      checkedTarget("--to", { host: "no.invalid", port: 25 }, true),
    ).rejects.toMatchObject({
      code: "CFG_TARGET",
    });
  });

  it("is every host of a connection string", async () => {
    await checkMongoTarget("mongodb://127.0.0.1:27017,[::1]:27018/?replicaSet=rs0", false);
    for (const uri of ["mongodb://127.0.0.1:1,192.0.2.1:2/", "mongodb+srv://localhost/"]) {
      await expect(checkMongoTarget(uri, false)).rejects.toMatchObject({ code: "CFG_TARGET" });
      await checkMongoTarget(uri, true);
    }
  });

  it("is read as a URL or host:port", () => {
    expect(parseSmtpUrl("--to", "smtp://[::1]:2525")).toEqual({ host: "::1", port: 2525 });
    expect(parseSmtpUrl("--to", "127.0.0.1:2525")).toEqual({ host: "127.0.0.1", port: 2525 });
    for (const text of ["http://x:1", "smtp://u@x:1", "smtp://x/y", "smtp://"])
      expect(() => parseSmtpUrl("--to", text), text).toThrow("must be smtp://");
  });
});
