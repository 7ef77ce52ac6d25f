import { chown, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { samplePolicy } from "@rs-agent/start/sample-policy.ts";
import { run, type CommandOptions } from "./command.ts";
import type { Engine } from "./engine.ts";
import { eventually, expectThat } from "./expect-that.ts";

/** The user of our images, who must be able to read the secrets. */
const imageUser = 10_001;
const project = "rs-agent-test";

/** docker-compose.yml as a user runs it, from a copy of the project with its own `.env`. */
export interface ComposedSystem {
  /** Addresses of the published listeners. */
  readonly smtp: string;
  readonly submission: string;
  /** Changes `.env`; `compose up` puts the change into effect. */
  set(changed: Readonly<Record<string, string>>): Promise<void>;
  compose(args: readonly string[], options?: CommandOptions): Promise<string>;
  /** Names of a service's running containers. */
  containersOf(service: string): Promise<string[]>;
  /** What is in the database, at its current address. */
  withDatabase<T>(use: (database: Database) => Promise<T>): Promise<T>;
  /** The network on which the next hop is. */
  readonly frontNetwork: string;
  /** File names of the mails in the next hop's maildir. */
  relayed(): Promise<string[]>;
  relayedMail(file: string): Promise<string>;
  down(): Promise<void>;
}

/** Changed as a user would: in `.env`. */
function settings(ports: { smtp: number; submission: number }, secrets: string) {
  return {
    COMPOSE_PROFILES: "try",
    MAIL_HOSTNAME: "gw.northwind.example",
    SMTP_PUBLISH: `127.0.0.1:${ports.smtp}`,
    SUBMISSION_PUBLISH: `127.0.0.1:${ports.submission}`,
    SECRETS_DIR: secrets,
    MONGODB_URI: "mongodb://mongodb:27017/?directConnection=true",
    SPAM_NETWORK_TESTS: "off",
    SPAM_CHILDREN: "2",
    FRESHCLAM_CHECKS: "0",
    SPAM_RULES_DAYS: "0",
    // Several on this one small machine.
    AV_MEMORY: "1g",
    // A killed dispatcher's or relay's mails are soon free for others, and an unknown outcome is
    // sent again.
    LEASE_MS: "8000",
    RELAY_LEASE_MS: "5000",
    ...Object.fromEntries(
      ["CONNECT", "GREETING", "MAIL", "RCPT", "DATA", "BLOCK", "FINAL"].map((step) => [
        `RELAY_TIMEOUT_${step}_MS`,
        "5000",
      ]),
    ),
    CANARY_INTERVAL_MS: "2000",
    POLICY_REFRESH_MS: "200",
    INGEST_POLICY_REFRESH_MS: "200",
    INGEST_REVERSE_LOOKUP: "off",
  };
}

export async function startComposedSystem(engine: Engine, copy: string): Promise<ComposedSystem> {
  const secrets = join(copy, "secrets");
  const ports = { smtp: await freePort(), submission: await freePort() };
  const policy = await prepare(copy, secrets, settings(ports, secrets));
  const compose = async (args: readonly string[], options: CommandOptions = {}) => {
    const before = ["--project-name", project, ...args];
    const { stdout } = await run("docker-compose", before, {
      cwd: copy,
      env: engine.env,
      ...options,
    });
    return stdout;
  };
  const system: ComposedSystem = {
    smtp: `127.0.0.1:${ports.smtp}`,
    submission: `127.0.0.1:${ports.submission}`,
    set: (changed) => changeSettings(copy, changed),
    frontNetwork: `${project}_front`,
    compose,
    containersOf: async (service) => {
      const labels = [`project=${project}`, `service=${service}`, "oneoff=False"];
      const filters = labels.flatMap((label) => ["--filter", `label=com.docker.compose.${label}`]);
      const { stdout } = await engine.docker(["ps", "--format", "{{.Names}}", ...filters]);
      return stdout.split("\n").filter((name) => name !== "");
    },
    withDatabase: async (use) => {
      const [container = ""] = await system.containersOf("mongodb");
      const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
      const { stdout } = await engine.docker(["inspect", "-f", format, container]);
      const uri = `mongodb://${stdout.trim()}:27017/?directConnection=true`;
      const log = createSilentLogger();
      await using database = await openDatabase({ uri, db: "rs_agent", clock: systemClock, log });
      return await use(database);
    },
    relayed: async () => {
      const [container = ""] = await system.containersOf("sink");
      const { stdout } = await engine.docker(["exec", container, "ls", "/var/lib/sink/new"]);
      return stdout.split("\n").filter((name) => name !== "");
    },
    relayedMail: async (file) => {
      const [container = ""] = await system.containersOf("sink");
      const path = `/var/lib/sink/new/${file}`;
      return (await engine.docker(["exec", container, "cat", path])).stdout;
    },
    down: async () => {
      await compose(["down", "--volumes", "--remove-orphans", "--timeout", "60"]);
    },
  };
  const shown = await compose(["config"]);
  expectThat(shown.includes("services:"), "docker-compose config is clean");
  await compose(["up", "--detach"]);
  await eventually("the policy is applied", 90_000, () =>
    compose(["run", "--rm", "-T", "rs-agent", "policy", "apply", "-"], { input: policy }),
  );
  return system;
}

/**
 * Writes `.env` and the secrets.
 * @returns the sample policy as the containers see its key
 */
async function prepare(
  copy: string,
  secrets: string,
  changed: Readonly<Record<string, string>>,
): Promise<string> {
  await changeSettings(copy, changed);
  for (const name of ["dkim", "relay", "tls"])
    await mkdir(join(secrets, name), { recursive: true });
  const key = join(secrets, "dkim", "northwind.pem");
  samplePolicy(key);
  await chown(key, imageUser, imageUser);
  const policy = await readFile(
    join(import.meta.dirname, "../../start/samples/policy.yaml"),
    "utf8",
  );
  return (
    policy
      .replaceAll("${DKIM_KEY_FILE}", "/run/secrets/dkim/northwind.pem")
      // A restarted next hop refuses for a moment; the usual first retry is after 5 minutes.
      .replace(/^default:\n/m, "default:\n  relay: { retry: [2s, 5s] }\n")
  );
}

async function changeSettings(
  copy: string,
  changed: Readonly<Record<string, string>>,
): Promise<void> {
  const file = join(copy, ".env");
  const kept = (await readFile(file, "utf8"))
    .split("\n")
    .filter((line) => !((/^(\w+)=/.exec(line)?.[1] ?? "") in changed));
  const lines = Object.entries(changed).map(([name, value]) => `${name}=${value}`);
  await writeFile(file, [...kept, ...lines, ""].join("\n"));
}
