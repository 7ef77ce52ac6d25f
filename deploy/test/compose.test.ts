import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseEnv } from "node:util";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { dispatcherConfigSchema } from "../../services/dispatcher/src/config.ts";
import { ingestConfigSchema } from "../../services/ingest/src/config.ts";
import { relayConfigSchema } from "../../services/relay/src/config.ts";
import { spamWorkerConfigSchema } from "../../services/spam-worker/src/config.ts";

interface ComposeService {
  image: string;
  command?: string[];
  entrypoint?: string[];
  restart?: string;
  stop_grace_period?: string;
  environment?: Record<string, string | number>;
  read_only?: boolean;
  cap_drop?: string[];
  cap_add?: string[];
  env_file?: string[];
  healthcheck?: { disable?: boolean };
  depends_on?: string[] | Record<string, { condition?: string }>;
  mem_limit?: string;
  cpus?: string;
  networks?: string[] | Record<string, unknown>;
  volumes?: string[];
  profiles?: string[];
}

const root = dirname(dirname(import.meta.dirname));
const read = (path: string) => readFileSync(join(root, path), "utf8");
const env = parseEnv(read(".env")) as Record<string, string>;
const text = read("docker-compose.yml");

/** The file as compose reads it: variables of .env or their defaults, then the merges. */
function composed(given: Record<string, string>) {
  const filled = text.replaceAll(
    /\$\{(\w+)(?::-([^}]*))?\}/g,
    (whole: string, name: string, other: string | undefined) => given[name] || (other ?? whole),
  );
  return parse(filled, { merge: true }) as {
    services: Record<string, ComposeService>;
    volumes: Record<string, unknown>;
    networks: Record<string, { internal?: boolean } | null>;
  };
}

const compose = composed(env);
const services = Object.entries(compose.services);
/** Those that read settings as our services do. */
const ourPrograms =
  /^(bus-keys|ingest|dispatcher|.*-worker|enricher|relay|mongodb-.*|sink|rs-agent)$/;
const ours = ["ingest", "dispatcher", "av-worker", "spam-worker", "enricher", "relay"];

function service(name: string): ComposeService {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`there is no service ${name}`);
  return found;
}

/** The environment that a container gets: .env, and above it what the file says. */
function environmentOf(name: string): Record<string, string> {
  const given = service(name).environment ?? {};
  return { ...env, ...Object.fromEntries(Object.entries(given).map(([k, v]) => [k, String(v)])) };
}

function secondsOf(duration = ""): number {
  const seconds = /^(\d+)s$/.exec(duration)?.[1];
  if (seconds === undefined) throw new Error(`"${duration}" is not a number of seconds`);
  return Number(seconds);
}

describe("docker-compose.yml", () => {
  it("gives each service longer to stop than it takes to drain, and that than its longest task", () => {
    const config = loadConfig(dispatcherConfigSchema, environmentOf("dispatcher"));
    const largestMb = config.MAX_MAIL_BYTES / 1e6;
    const longestTaskMs = config.TASK_DEADLINE_MS + config.TASK_DEADLINE_PER_MB_MS * largestMb;
    for (const name of ours) {
      const drainMs = Number(environmentOf(name)["DRAIN_MS"]);
      // runService exits by itself 2 s after its drain is over; a pair stops its engine then.
      const graceMs = secondsOf(service(name).stop_grace_period) * 1_000;
      expect(drainMs, name).toBeGreaterThan(longestTaskMs);
      expect(graceMs, name).toBeGreaterThan(drainMs + 2_000 + 20_000);
    }
  });

  it("lets the relay wait for the last reply of a next hop", () => {
    const { timeouts, DRAIN_MS } = loadConfig(relayConfigSchema, environmentOf("relay"));
    expect(DRAIN_MS).toBeGreaterThan(timeouts.finalMs);
  });

  it("has the same settings without .env", () => {
    const without = composed({});
    for (const [name, { stop_grace_period: grace, mem_limit: memory, cpus }] of services) {
      expect({ name, grace, memory, cpus }).toEqual({
        name,
        grace: without.services[name]?.stop_grace_period,
        memory: without.services[name]?.mem_limit,
        cpus: without.services[name]?.cpus,
      });
    }
  });

  it("gives services settings that they take", () => {
    const schemas = {
      ingest: ingestConfigSchema,
      dispatcher: dispatcherConfigSchema,
      relay: relayConfigSchema,
      "spam-worker": spamWorkerConfigSchema,
    };
    for (const [name, schema] of Object.entries(schemas)) {
      expect(() => loadConfig(schema, environmentOf(name))).not.toThrow();
    }
  });

  it("tells services of the bus where their own key lies, and allows no plain text", () => {
    const kinds = ["dispatcher", "av-worker", "spam-worker", "enricher", "relay"];
    for (const name of kinds) {
      const environment = environmentOf(name);
      expect(environment["BUS_KEY_FILE"]).toBe("/run/secrets/bus/service.key");
      expect(environment["BUS_ALLOW_FILE"]).toBe("/run/secrets/bus/allow.yaml");
    }
    expect(text + read(".env")).not.toContain("BUS_ALLOW_PLAINTEXT");
  });

  it("mounts into each service its own folder of keys, read-only, and into no other any", () => {
    const mounted = services.flatMap(([name, { volumes = [] }]) =>
      volumes.filter((volume) => volume.includes("/bus")).map((volume) => [name, volume]),
    );
    const kinds = ["dispatcher", "av-worker", "spam-worker", "enricher", "relay"];
    expect(mounted).toEqual([
      ["bus-keys", "./secrets/bus:/run/secrets/bus"],
      ...kinds.map((kind) => [kind, `./secrets/bus/${kind}:/run/secrets/bus:ro`]),
    ]);
    for (const kind of kinds) {
      expect(service(kind).depends_on).toEqual({
        "bus-keys": { condition: "service_completed_successfully" },
      });
    }
    // Nobody but the services' user may make them: root only gives the folder to that user.
    const withMore = services.filter(([, { cap_add = [] }]) => cap_add.length > 0);
    expect(withMore.map(([name]) => name)).toEqual(["bus-keys"]);
  });

  it("takes arguments of `docker compose run` after the name of the command", () => {
    for (const name of ["bus-keys", "rs-agent"]) {
      expect(service(name).entrypoint?.at(-1)).toBe(name);
      expect(service(name).command).toBeUndefined();
    }
  });

  it("checks the health of what serves it, and of nothing else of ours", () => {
    const ourImages = services.filter(([, { image }]) => /rs-(agent|\w+-worker)/.test(image));
    const unchecked = ourImages.filter(([, { healthcheck }]) => healthcheck?.disable === true);
    expect(unchecked.map(([name]) => name).sort()).toEqual(
      ["bus-keys", "mongodb-replica-set", "rs-agent", "sink"].sort(),
    );
    for (const name of ours) expect(service(name).healthcheck).toBeUndefined();
  });

  it("gives the database's secrets to those that use it, when .env names them, and to no other", () => {
    const named = {
      MONGODB_USERNAME_FILE: "/run/secrets/mongodb/username",
      MONGODB_PASSWORD_FILE: "/run/secrets/mongodb/password",
    };
    for (const [name, { env_file, networks, volumes = [] }] of services) {
      if (env_file === undefined || !name.match(ourPrograms)) continue;
      const environment: Record<string, string> = { ...named, ...environmentOf(name) };
      const hasDatabase = networksOf(networks).includes("database");
      const mounts = volumes.includes("./secrets/mongodb:/run/secrets/mongodb:ro");
      expect({ name, mounts, told: environment["MONGODB_USERNAME_FILE"] !== "" }).toEqual({
        name,
        mounts: hasDatabase,
        told: hasDatabase,
      });
    }
  });

  it("changes only settings of services that are there, in each further file", () => {
    for (const file of ["host-postfix", "mongodb-auth"]) {
      const more = parse(read(`deploy/compose/${file}.yml`), { merge: true }) as {
        services: Record<string, Partial<ComposeService>>;
      };
      const unknown = Object.entries(more.services).filter(
        ([name, { image }]) => image === undefined && !(name in compose.services),
      );
      expect(unknown).toEqual([]);
    }
  });

  it("knows or documents each setting of .env", () => {
    const documented = read("docs/settings.md") + read("docs/deploy.md");
    const unknown = Object.keys(env).filter(
      (name) => !text.includes(`\${${name}`) && !documented.includes(`\`${name}\``),
    );
    expect(unknown).toEqual([]);
  });

  it("puts no secret into an environment variable", () => {
    const names = [
      ...Object.keys(env),
      ...services.flatMap(([name]) => Object.keys(environmentOf(name))),
    ];
    const secret = /PASSWORD|PASSWD|TOKEN|CREDENTIAL|_KEY$/;
    const holders = names.filter((name) => secret.test(name) && !name.endsWith("_FILE"));
    expect(holders).toEqual([]);
    expect(JSON.stringify(services)).not.toMatch(/mongodb(\+srv)?:\/\/[^/"]*@/);
  });

  it("hardens and limits each container", () => {
    for (const [name, { read_only, cap_drop, mem_limit, cpus }] of services) {
      expect({ name, mem_limit, cpus }).toEqual({
        name,
        mem_limit: expect.stringMatching(/^\d+[mg]$/) as unknown,
        cpus: expect.anything() as unknown,
      });
      // Postfix changes users by itself, and its chroots are its own.
      if (name === "postfix") continue;
      expect({ name, read_only, cap_drop }).toEqual({ name, read_only: true, cap_drop: ["ALL"] });
    }
  });

  it("lets out into the world only those who have to ask or send there", () => {
    const inFront = services.filter(([, { networks }]) => networksOf(networks).includes("front"));
    const names = inFront.map(([name]) => name).filter((name) => ours.includes(name));
    expect(names.sort()).toEqual(["ingest", "relay", "spam-worker"]);
  });

  it("has no way out of the networks in which the bus and the database are", () => {
    for (const name of ["bus", "database"]) expect(compose.networks[name]?.internal).toBe(true);
    const inDatabase = services.filter(([, { networks }]) =>
      networksOf(networks).includes("database"),
    );
    expect(inDatabase.map(([name]) => name).sort()).toEqual(
      ["dispatcher", "ingest", "mongodb", "mongodb-replica-set", "relay", "rs-agent"].sort(),
    );
  });

  it("names every volume that it uses", () => {
    const named = services
      .flatMap(([, { volumes = [] }]) => volumes)
      .map((volume) => volume.split(":")[0] ?? "")
      .filter((source) => !/^[./~]/.test(source));
    expect(named.filter((source) => !(source in compose.volumes))).toEqual([]);
  });

  it("shares the spool between the dispatcher and all workers, at one place", () => {
    for (const name of ["dispatcher", "av-worker", "spam-worker", "enricher"]) {
      expect(service(name).volumes).toContain("spool:/var/spool/rs-agent");
    }
  });
});

function networksOf(networks: ComposeService["networks"] = []): string[] {
  return Array.isArray(networks) ? networks : Object.keys(networks);
}
