import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A self-signed certificate for this name or address, and its key, as PEM. */
export function selfSigned(name: string): { key: string; cert: string } {
  const dir = mkdtempSync(join(tmpdir(), "relay-test-tls-"));
  const [key, cert] = [join(dir, "key"), join(dir, "cert")];
  const subject = `${isIP(name) === 0 ? "DNS" : "IP"}:${name}`;
  const names = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=${subject}`];
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  execFileSync("openssl", ["req", "-x509", ...newKey, "-keyout", key, "-out", cert, ...names], {
    stdio: "ignore",
  });
  const pair = { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  rmSync(dir, { recursive: true });
  return pair;
}
