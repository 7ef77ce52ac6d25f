import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { loadSigningKey } from "../../src/dkim/key.ts";
import { signMail, verifyTopSignature } from "../../src/dkim/signer.ts";
import {
  deps,
  enriched,
  mailOf,
  pemOf,
  plainMail,
  signChange,
  spamVerdict,
  unableOutput,
  unableReason,
} from "../mail-to-enrich.ts";

const rsa = pemOf("rsa");
const ed25519 = pemOf("ed25519");
const signal = new AbortController().signal;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "enricher-sign-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/**
 * Every result as `d/s: result`, as an outside verifier finds it with our key's record in the DNS.
 */
async function verified(mail: Buffer, pem: string): Promise<string[]> {
  const { record } = await loadSigningKey(pem);
  const { results } = await dkimVerify(mail, { resolver: () => Promise.resolve([[record]]) });
  return results.map(
    ({ signingDomain, selector, status }) => `${signingDomain}/${selector}: ${status.result}`,
  );
}

/** What Debian's Mail::DKIM says about the mail when the DNS has this key record. */
async function verifiedByPerl(mail: Buffer, record: string): Promise<string> {
  const script = `
    use strict; use warnings;
    use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use Net::DNS::RR;
    my ($record, $path) = @ARGV;
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
      my ($name, $type) = @_;
      die "asked for $name" unless $name eq 's1._domainkey.tenant.example' && $type eq 'TXT';
      return Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => [unpack '(a255)*', $record]);
    };
    my $verifier = Mail::DKIM::Verifier->new;
    open(my $mail, '<:raw', $path) or die $!;
    local $/ = \\8192;
    while (my $chunk = <$mail>) { $verifier->PRINT($chunk) }
    $verifier->CLOSE;
    print $verifier->result_detail;
  `;
  const path = join(folder, "mail.eml");
  await writeFile(path, mail);
  const { stdout } = await promisify(execFile)("perl", ["-e", script, record, path]);
  return stdout;
}

describe("sign", () => {
  it.each([
    ["RSA-2048", rsa],
    ["Ed25519", ed25519],
  ])("signs with %s so that a verifier passes it, header bytes only", async (_, pem) => {
    const { final, text, bodyChanged, signature } = await enriched(plainMail, [signChange(pem)]);
    expect(await verified(final, pem)).toEqual(["tenant.example/s1: pass"]);
    expect(text.startsWith("DKIM-Signature: v=1;")).toBe(true);
    expect(text.endsWith(plainMail.toString("latin1"))).toBe(true);
    expect({ bodyChanged, signature }).toEqual({
      bodyChanged: false,
      signature: { domain: "tenant.example", selector: "s1" },
    });
  });

  const mails: [string, Buffer][] = [
    ["plain text", plainMail],
    ["an empty body", mailOf("From: a@tenant.example", "Subject: x", "", "")],
    ["no body and no empty line", mailOf("From: a@tenant.example", "Subject: x")],
    [
      "8-bit octets",
      mailOf("From: J\xf6rg <a@tenant.example>", "Subject: \xc3\xa4", "", "\xe4\xf6\r\n.x  y\t"),
    ],
    [
      "encoded words and folds",
      mailOf(
        "From: =?utf-8?Q?J=C3=B6?= <a@tenant.example>",
        "Subject: =?utf-8?B?w6Q=?=",
        "\t=?utf-8?B?w6Q=?=",
        "",
        "x",
      ),
    ],
    [
      "two subjects and odd blanks",
      mailOf("From : a@tenant.example", "Subject: 1", "SUBJECT:2  ", "To:", "", "  x  ", "", ""),
    ],
  ];

  it.each(mails)("passes Debian's Mail::DKIM over %s", async (_, raw) => {
    const { final } = await enriched(
      raw,
      [
        { kind: "strip" },
        { kind: "verdict-headers" },
        { kind: "extra-headers", headers: [{ name: "X-A", value: "ä ".repeat(80) }] },
        { kind: "subject-tag", tag: "[SPAM]" },
        signChange(rsa),
      ],
      { verdicts: spamVerdict({ kind: "spam", score: 9, required: 5, rules: [] }) },
    );
    const { record } = await loadSigningKey(rsa);
    expect(await verifiedByPerl(final, record)).toBe("pass");
    const other = await loadSigningKey(pemOf("rsa"));
    expect(await verifiedByPerl(final, other.record)).not.toBe("pass");
  });

  it("passes Debian's Mail::DKIM after a disclaimer has changed the body", async () => {
    const disclaimer = { kind: "disclaimer" as const, text: "Grüße von Tenant" };
    const { final, text, bodyChanged } = await enriched(plainMail, [disclaimer, signChange(rsa)]);
    expect(bodyChanged).toBe(true);
    expect(text).toContain("Gr=C3=BC=C3=9Fe von Tenant");
    expect(await verifiedByPerl(final, (await loadSigningKey(rsa)).record)).toBe("pass");
  });

  it.each([
    "From: evil@x",
    "Subject: other",
    "Reply-To: evil@x",
    "Content-Type: text/html",
    "Date: x",
  ])("lets nobody add %s unseen, on top or below", async (field) => {
    const raw = mailOf("From: a@tenant.example", "Subject: x", "Date: y", "", "body");
    const { final } = await enriched(raw, [signChange(rsa)]);
    const added = Buffer.from(`${field}\r\n`);
    expect(await verified(final, rsa)).toEqual(["tenant.example/s1: pass"]);
    expect(await verified(Buffer.concat([added, final]), rsa)).toEqual(["tenant.example/s1: fail"]);
    const end = final.indexOf("\r\n\r\n") + 2;
    const below = Buffer.concat([final.subarray(0, end), added, final.subarray(end)]);
    expect(await verified(below, rsa)).toEqual(["tenant.example/s1: fail"]);
  });

  it("lets a next hop add a Date that is missing", async () => {
    const { final } = await enriched(mailOf("From: a@tenant.example", "", "x"), [signChange(rsa)]);
    const dated = Buffer.concat([Buffer.from("Date: x\r\n"), final]);
    expect(await verified(dated, rsa)).toEqual(["tenant.example/s1: pass"]);
  });

  it("notes that some verifiers may refuse the signature, if they read the header differently", async () => {
    const raw = mailOf("From: a@tenant.example", "To: x@y", "a line without colon", "", "x");
    const { final, notes } = await enriched(raw, [signChange(rsa)]);
    expect(await verified(final, rsa)).toEqual(["tenant.example/s1: pass"]);
    expect(notes).toEqual([expect.stringContaining("some verifiers may refuse the signature")]);
  });

  it("keeps the sender's own signature and puts ours above it", async () => {
    const key = await loadSigningKey(ed25519);
    const other = { domain: "other.example", selector: "s1", key, now: deps.now(), signal };
    const foreign = Buffer.concat([await signMail([plainMail], other), plainMail]);
    const { final } = await enriched(foreign, [signChange(ed25519)]);
    expect(await verified(final, ed25519)).toEqual([
      "tenant.example/s1: pass",
      "other.example/s1: pass",
    ]);
  });

  it("is not deceived by a forged signature under our d= and s= (I10)", async () => {
    const forged = mailOf(
      "DKIM-Signature: v=1; a=ed25519-sha256; d=tenant.example; s=s1; h=From; bh=eA==; b=eA==",
      "From: a@tenant.example",
      "",
      "x",
    );
    const { final } = await enriched(forged, [signChange(ed25519)]);
    expect((await verified(final, ed25519))[0]).toBe("tenant.example/s1: pass");
  });

  it("verifies any mail that it lets go, whatever its bytes (I10, property)", async () => {
    const line = fc.oneof(
      fc.constantFrom(
        "Subject: x",
        " fold",
        "\tfold ",
        "junk",
        "",
        "To : y",
        "DKIM-Signature: v=1",
        ":",
        ".",
      ),
      fc.uint8Array({ maxLength: 40 }).map((data) => Buffer.from(data).toString("latin1")),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 10 }), async (lines) => {
        const raw = canonicalize(
          Buffer.from(["From: a@tenant.example", "To: b@c", ...lines].join("\r\n"), "latin1"),
        );
        const { final } = await enriched(raw, [{ kind: "verdict-headers" }, signChange(ed25519)]);
        expect((await verified(final, ed25519))[0]).toBe("tenant.example/s1: pass");
      }),
      { numRuns: 150 },
    );
  });
});

describe("a mail that cannot be signed is held, never sent unsigned (I10)", () => {
  it.each([
    ["no key", "", "ENRICH_KEY_UNREADABLE"],
    ["no PEM", "-----BEGIN nonsense", "ENRICH_KEY_UNREADABLE"],
    ["a missing file", "file:/nonexistent/key.pem", "ENOENT"],
    ["a key of another kind", "ec", "it is of type ec"],
    ["a short RSA key", "rsa512", "too few to sign"],
  ])("with %s", async (_, key, reason) => {
    const { generateKeyPairSync } = await import("node:crypto");
    const made = {
      ec: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
      rsa512: () => generateKeyPairSync("rsa", { modulusLength: 512 }),
    }[key];
    const pem = made?.().privateKey.export({ type: "pkcs8", format: "pem" }).toString() ?? key;
    expect(await unableReason(plainMail, [signChange(pem)])).toContain(reason);
  });

  it("reads a key file again, so that a corrected key is used", async () => {
    const path = join(folder, "key.pem");
    await writeFile(path, "nothing yet");
    const change = signChange(`file:${path}`);
    expect(await unableReason(plainMail, [change])).toContain("ENRICH_KEY_UNREADABLE");
    await writeFile(path, rsa);
    expect(await verified((await enriched(plainMail, [change])).final, rsa)).toHaveLength(1);
  });

  it("reveals nothing of a file that is not a key", async () => {
    const path = join(folder, "secret");
    await writeFile(path, "the-secret-itself");
    expect(await unableReason(plainMail, [signChange(`file:${path}`)])).not.toContain("itself");
  });

  it("without From", async () => {
    const reason = await unableReason(mailOf("To: a@b", "", "x"), [signChange(ed25519)]);
    expect(reason).toContain("no From header");
  });

  it("forever if it is because of the mail itself, until the key is corrected if it is because of the key", async () => {
    const noFrom = await unableOutput(mailOf("To: a@b", "", "x"), [signChange(ed25519)]);
    expect(noFrom.permanent).toBe(true);
    const noKey = await unableOutput(plainMail, [signChange("file:/no/such/key.pem")]);
    expect(noKey.permanent).toBeUndefined();
  });

  it("with an invalid domain or selector", async () => {
    const change = { ...signChange(ed25519), selector: "s 1; d=evil.example" } as never;
    expect(await unableReason(plainMail, [change])).toContain("ENRICH_SIGNATURE_INVALID");
  });

  it("with a header that would take mailauth minutes", async () => {
    const raw = Buffer.from(`From: a@tenant.example\r\n${"X: y\r\n".repeat(20_000)}\r\nbody\r\n`);
    expect(await unableReason(raw, [signChange(ed25519)])).toContain("more than 10000 lines");
  });

  it("with many signatures already", async () => {
    const raw = mailOf(
      ...Array.from({ length: 30 }, () => "DKIM-Signature: v=1"),
      "From: a@tenant.example",
      "",
      "x",
    );
    expect(await unableReason(raw, [signChange(ed25519)])).toContain("30 signatures already");
  });

  it("if a change would follow the signature (I5)", async () => {
    const changes = [signChange(ed25519), { kind: "geoip" as const }];
    expect(await unableReason(plainMail, changes)).toContain("geoip after the signature");
  });
});

describe("verifyTopSignature", () => {
  const request = async (pem: string) => ({
    domain: "tenant.example",
    selector: "s1",
    key: await loadSigningKey(pem),
    now: deps.now(),
    signal,
  });

  it("demands exactly d= and s= of the topmost signature, over exactly these bytes (I10)", async () => {
    const { final } = await enriched(plainMail, [signChange(rsa)]);
    const asked = await request(rsa);
    await expect(verifyTopSignature([final], asked)).resolves.toBeUndefined();
    const changed = Buffer.from(final);
    changed[changed.length - 4] = 0x21;
    const fails: [Buffer, typeof asked][] = [
      [changed, asked],
      [plainMail, asked],
      [final, { ...asked, selector: "s2" }],
      [final, { ...asked, domain: "sub.tenant.example" }],
      [final, await request(pemOf("rsa"))],
    ];
    for (const [mail, other] of fails) {
      await expect(verifyTopSignature([mail], other)).rejects.toMatchObject({
        code: "ENRICH_SIGNATURE_INVALID",
      });
    }
  });

  it("stops at the task's deadline", async () => {
    const aborted = { ...(await request(rsa)), signal: AbortSignal.abort(new Error("deadline")) };
    await expect(verifyTopSignature([plainMail], aborted)).rejects.toThrow("deadline");
  });
});
