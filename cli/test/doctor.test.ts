import { MongoClient } from "mongodb";
import { expect, inject, onTestFinished, test } from "vitest";
import { parseClamdAddress } from "@rs-agent/av-worker/clamd/address.ts";
import { listensAt, optionsIn } from "../src/clamd-conf.ts";
import { diagnoseLimits } from "../src/clamd-limits.ts";
import { diagnoseReload, signatureBytesIn } from "../src/clamd-reload.ts";
import type { Diagnosis } from "../src/doctor/diagnosis.ts";
import { http, reply, startFakeRspamd } from "../../services/spam-worker/test/fake-rspamd.ts";
import { startFakeClamd } from "../../services/av-worker/test/fake-clamd.ts";
import { anotherDatabase, runCli, useCli } from "./run-cli.ts";

const cli = useCli();

async function diagnose(
  ...args: string[]
): Promise<{ parts: Map<string, Diagnosis>; code: number }> {
  const { out, code } = await cli().run(["doctor", "--json", ...args]);
  const diagnoses = JSON.parse(out) as Diagnosis[];
  return { parts: new Map(diagnoses.map((one) => [one.part, one])), code };
}

test("names what runs, what does not, and what to do", async () => {
  const { store } = cli();
  await store.actors.report("relay-1", "relay", {});
  const { parts, code } = await diagnose("--clamd", inject("clamd"), "--spamd", inject("spamd"));
  expect(code).toBe(1);
  expect(parts.get("database")).toMatchObject({ ok: true });
  expect(parts.get("relay")).toMatchObject({ ok: true, found: "relay-1" });
  expect(parts.get("ingest")).toMatchObject({ ok: false });
  expect(parts.get("ingest")?.advice).toContain("services/ingest/src/main.ts");
  expect(parts.get("policy")?.advice).toContain("rs-agent policy apply");
  expect(parts.get("clamd")).toMatchObject({ ok: true });
  expect(parts.get("clamd")?.found).toMatch(/ClamAV \d/);
  expect(parts.get("clamd canaries")).toMatchObject({ ok: true });
  expect(parts.get("spamd")).toMatchObject({ ok: true });
  expect(parts.get("spamd")?.found).toMatch(/GTUBE is spam to it/);
});

test("a relay that no dispatcher tells of mail is named, with what to set", async () => {
  const { store } = cli();
  await store.actors.report("relay-8", "relay", { routes: [], dispatchers: 0 });
  expect((await diagnose()).parts.has("relay hints")).toBe(false);
  await store.actors.report("dispatcher-8", "dispatcher", { heldMails: 0, workers: [] });
  const { parts } = await diagnose();
  expect(parts.get("relay hints")).toMatchObject({ ok: true });
  expect(parts.get("relay hints")?.found).toMatch(/^relay-8: .*BUS_DISPATCHERS/);
  await store.actors.report("relay-8", "relay", { routes: [], dispatchers: 1 });
  expect((await diagnose()).parts.has("relay hints")).toBe(false);
  await store.actors.leave("relay-8");
  await store.actors.leave("dispatcher-8");
});

test("a service of a newer release is named, with what to do", async () => {
  const { store, env } = cli();
  await store.actors.report("relay-9", "relay", {});
  expect((await diagnose()).parts.has("releases")).toBe(false);
  const client = new MongoClient(env.MONGODB_URI);
  onTestFinished(() => client.close());
  const actors = client.db(env.MONGODB_DB).collection<{ _id: string }>("actors");
  await actors.updateOne({ _id: "relay-9" }, { $set: { records: 7 } });
  const { parts } = await diagnose();
  expect(parts.get("releases")).toMatchObject({
    ok: false,
    found: "relay-9 reads records of version 7, this CLI up to 2",
    advice: "use the CLI of that release",
  });
  await store.actors.leave("relay-9");
});

test("clamd is asked what a worker asks before it takes work", async () => {
  const blind = await startFakeClamd({
    fault: ({ id, content }) =>
      content.includes(".encrypted-pdf@") ? { raw: `${id}: stream: OK\0` } : undefined,
  });
  onTestFinished(() => blind.close());
  const { parts, code } = await diagnose("--clamd", blind.address);
  expect(code).toBe(1);
  expect(parts.get("clamd canaries")).toMatchObject({ ok: false });
  expect(parts.get("clamd canaries")?.found).toContain("set AlertEncryptedDoc yes in clamd.conf");
  const env = { ...cli().env, AV_ALLOW_BLIND: "encrypted" };
  const { out } = await runCli(["doctor", "--clamd", blind.address], env);
  expect(out.replace(/\s+/g, " ")).toContain(
    "clamd canaries ok: finds EICAR, says where it cannot look; AV_ALLOW_BLIND: encrypted",
  );
});

test("a spam engine is asked what a worker asks before it takes work", async () => {
  const blind = await startFakeRspamd(() => ({ chunks: [http(reply())], then: "close" }));
  onTestFinished(() => blind.close());
  const well = await diagnose("--rspamd", inject("rspamd"));
  expect(well.parts.get("rspamd")).toMatchObject({ ok: true });
  expect(well.parts.get("rspamd")?.found).toMatch(/rspamd \d/);
  const { parts, code } = await diagnose("--rspamd", blind.address);
  expect(code).toBe(1);
  expect(parts.get("rspamd")).toMatchObject({ ok: false });
  expect(parts.get("rspamd")?.found).toContain("GTUBE is ham to it");
});

test("an invalid address is reported as such", async () => {
  const { parts } = await diagnose("--spamd", "nowhere", "--rspamd", "127.0.0.1:99999");
  expect(parts.get("spamd")?.found).toContain("host:port or /path");
  expect(parts.get("rspamd")?.found).toContain("host:port or /path");
});

test("engines that are away are named with what to do", async () => {
  const { parts } = await diagnose("--clamd", "127.0.0.1:1", "--spamd", "127.0.0.1:1");
  expect(parts.get("clamd")).toMatchObject({ ok: false });
  expect(parts.get("clamd")?.advice).toContain("AV_CLAMD");
  expect(parts.get("spamd")).toMatchObject({ ok: false });
});

test("a worker that is unable is named with its own reason", async () => {
  const worker = {
    id: "av-1",
    kind: "virus",
    mailbox: "tcp://127.0.0.1:1",
    state: "open",
    unable: "clamd answers OK to an encrypted zip: AlertEncryptedArchive",
    grant: { tasks: 0, bytes: 0 },
    outstanding: { tasks: 0, bytes: 0 },
  };
  await cli().store.actors.report("d1", "dispatcher", { heldMails: 0, workers: [worker] });
  const { parts } = await diagnose();
  expect(parts.get("av-worker")).toMatchObject({ ok: false });
  expect(parts.get("av-worker")?.found).toContain("AlertEncryptedArchive");
  expect(parts.get("spam-worker")?.found).toBe("known to no dispatcher");
});

test("everything well is exit code 0", async () => {
  const { store } = cli();
  const file = { "p.yaml": "tenants: { t: { domains: [t.example] } }" };
  await cli().run(["policy", "apply", "p.yaml"], file);
  const kinds = { virus: "av-1", spam: "spam-1", enrich: "enricher-1" };
  const workers = Object.entries(kinds).map(([kind, id]) => ({
    id,
    kind,
    mailbox: "tcp://127.0.0.1:1",
    state: "open",
    grant: { tasks: 4, bytes: 1 },
    outstanding: { tasks: 0, bytes: 0 },
  }));
  await store.actors.report("d1", "dispatcher", { heldMails: 0, workers });
  await store.actors.report("ingest-1", "ingest", {});
  await store.actors.report("relay-1", "relay", {});
  const { out, code } = await cli().run(["doctor"]);
  expect(out).not.toContain("NOT WELL");
  expect(code).toBe(0);
});

test("a wrong setting is named, and no database is blamed", async () => {
  const { parts } = await diagnose("--dns", "nowhere");
  expect(parts.get("database")).toMatchObject({ ok: false, advice: "correct this" });
  expect(parts.get("database")?.found).toMatch(/must be addresses such as .*DNS_SERVERS/s);
});

test("a tenant without a domain lets no mail in", async () => {
  const env = anotherDatabase();
  const file = { "p.yaml": "tenants: { t: { networks: [192.0.2.0/24] } }" };
  await runCli(["policy", "apply", "p.yaml"], env, file);
  const { out } = await runCli(["doctor"], env);
  expect(out).toMatch(/^policy +NOT WELL: 1 document, revision 1$/m);
});

test("warns about a clamd.conf with which clamd stands still while it loads, and about nothing unknown", async () => {
  const conf = (text: string) => ({ "clamd.conf": text });
  const args = ["doctor", "--clamd", inject("clamd")];
  const named = [...args, "--clamd-conf", "clamd.conf"];
  const of = async (given: string[], text = "") => {
    const { out } = await cli().run(given, conf(text));
    return out.slice(out.indexOf("clamd reload")).replace(/\s+/g, " ");
  };
  const off = await of(named, "# a comment\nConcurrentDatabaseReload no\n");
  expect(off).toContain("WARNING: ConcurrentDatabaseReload no in clamd.conf");
  expect(off).toMatch(/takes [\d.]+ MB more/);
  expect(await of(named, "#ConcurrentDatabaseReload no\n")).toContain(
    "ok: ConcurrentDatabaseReload yes by clamd.conf",
  );
  expect(await of(args)).toContain(
    "NOT KNOWN: whether it scans while it loads signatures is not known",
  );
});

test("warns if memory is short for new signatures next to the old ones", () => {
  const facts = { configFile: "f", concurrent: true, signatureBytes: 1_300_000_000 };
  const short = diagnoseReload({ ...facts, freeBytes: 700_000_000 });
  expect(short).toMatchObject({ ok: true, warning: true });
  expect(short.found).toMatch(/only 667.6 MB of memory are free/);
  expect(diagnoseReload({ ...facts, freeBytes: 1_400_000_000 }).warning).toBeUndefined();
  // What another host has free is not known.
  expect(diagnoseReload(facts).warning).toBeUndefined();
});

test("a clamd.conf belongs to the clamd that listens where it says", () => {
  const options = optionsIn('LocalSocket "/run/clamd.ctl"\r\n  TCPSocket 3310\nTCPSocketX 1\n');
  const at = (text: string) => listensAt(options, parseClamdAddress(text));
  expect(["/run/clamd.ctl", "127.0.0.1", "/run/other.ctl", "127.0.0.1:3311"].map(at)).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect(signatureBytesIn("MEMSTATS: heap N/A pools 1 pools_used 1.000M pools_total 2.500M")).toBe(
    2_621_440,
  );
  expect(signatureBytesIn("POOLS: 1")).toBeUndefined();
});

test.each([
  ["", true, "MaxFileSize 100M, MaxScanSize 400M by clamd.conf"],
  ["MaxFileSize 400M\n", undefined, "MaxFileSize 400M, MaxScanSize 400M by clamd.conf"],
  ["MaxScanSize 102400k\n", undefined, "MaxFileSize 100M, MaxScanSize 102400k by clamd.conf"],
  ["MaxFileSize 0\n", undefined, "MaxFileSize 0, MaxScanSize 400M by clamd.conf"],
  ["MaxScanSize 0\n", true, "MaxFileSize 100M, MaxScanSize 0 by clamd.conf"],
  ["MaxFileSize much\n", true, "MaxFileSize much, MaxScanSize 400M by clamd.conf"],
])(
  "says of the limits %j whether clamd says OK to what it has not seen",
  (text, warning, found) => {
    const diagnosis = diagnoseLimits({ file: "clamd.conf", text });
    expect([diagnosis.ok, diagnosis.warning, diagnosis.found]).toEqual([true, warning, found]);
  },
);
