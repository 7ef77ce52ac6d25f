import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import { ConnectionString } from "mongodb-connection-string-url";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { useDatabase, openStore } from "./test-database.ts";

const database = useDatabase();
let dir: string;
const at = (name: string) => join(dir, name);
const read = (name: string) => readFileSync(at(name));

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "rs-agent-mongodb-tls-"));
  for (const name of ["server", "client"]) {
    const request = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${name}`;
    const files = ["-keyout", at(`${name}.key`), "-out", at(`${name}.crt`)];
    const names = ["-addext", "subjectAltName=DNS:localhost"];
    execFileSync("openssl", [...request.split(" "), ...names, ...files], { stdio: "ignore" });
    writeFileSync(at(`${name}.pem`), Buffer.concat([read(`${name}.crt`), read(`${name}.key`)]));
  }
  writeFileSync(at("mixed.pem"), Buffer.concat([read("client.crt"), read("server.key")]));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** The tests' database behind TLS, for clients that show the right certificate. */
async function tlsBeforeDatabase(): Promise<number> {
  const [host = "", port = ""] = (new ConnectionString(database().uri).hosts[0] ?? "").split(":");
  const options = {
    cert: read("server.crt"),
    key: read("server.key"),
    ca: [read("client.crt")],
    requestCert: true,
    rejectUnauthorized: true,
  };
  const server = createServer(options, (client) => {
    const behind = connect(Number(port), host);
    client.pipe(behind).pipe(client);
    client.on("error", () => behind.destroy()).on("close", () => behind.destroy());
    behind.on("error", () => client.destroy());
  });
  server.listen(0, "localhost");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

async function open(options: Record<string, string>) {
  const query = new URLSearchParams({ directConnection: "true", tls: "true", ...options });
  const port = await tlsBeforeDatabase();
  const uri = `mongodb://localhost:${String(port)}/?serverSelectionTimeoutMS=3000&${query.toString()}`;
  return openStore(uri, database().name);
}

describe("a database that wants TLS", () => {
  it("is reached with the files that the connection string names", async () => {
    const store = await open({
      tlsCAFile: at("server.crt"),
      tlsCertificateKeyFile: at("client.pem"),
    });
    await store.ping();
    await store.close();
  });

  it("is not trusted without its certificate", async () => {
    await expect(open({ tlsCertificateKeyFile: at("client.pem") })).rejects.toMatchObject({
      code: "STORE_UNREACHABLE",
      message: expect.stringContaining("self-signed") as string,
    });
  });

  it.each([
    [{ tlsCAFile: "none.crt" }, /MONGODB_URI, tlsCAFile: ENOENT.*none\.crt/],
    [{ tlsCAFile: "server.key" }, /MONGODB_URI, tlsCAFile: .*server\.key: no certificate in PEM/],
    [{ tlsCertificateKeyFile: "client.crt" }, /tlsCertificateKeyFile: .*client\.crt: no private/],
    [{ tlsCertificateKeyFile: "mixed.pem" }, /tlsCertificateKeyFile: .*the key does not fit/],
  ])("is not asked if a file cannot be used: %o", async (files, message) => {
    const named = Object.entries(files).map(([name, file]) => [name, at(file)]);
    await expect(open(Object.fromEntries(named) as Record<string, string>)).rejects.toMatchObject({
      code: "CFG_INVALID",
      message: expect.stringMatching(message) as string,
    });
  });
});
