import { spawn } from "node:child_process";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { firstLine } from "../src/bus-raw.ts";

it("says immediately that no name exists", async () => {
  const script = fileURLToPath(new URL("../src/peers/no-such-domain.ts", import.meta.url));
  const child = spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const resolver = new Resolver({ timeout: 20_000, tries: 1 });
    resolver.setServers([`127.0.0.1:${await firstLine(child)}`]);
    for (const ask of [resolver.resolve4("a.example"), resolver.resolveTxt("multi.rbl.example")]) {
      await expect(ask).rejects.toMatchObject({ code: "ENOTFOUND" });
    }
  } finally {
    child.stdin.end();
    await once(child, "exit");
  }
});
