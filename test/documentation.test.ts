import { globSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { showCommands } from "@rs-agent/shared/health/database-part.ts";
import { showReadiness } from "@rs-agent/shared/health/serve-health.ts";
import { createWorkerMetrics } from "@rs-agent/shared/worker/worker-metrics.ts";
import { avWorkerConfigSchema } from "../services/av-worker/src/config.ts";
import { cliConfigSchema } from "../cli/src/config.ts";
import { peerConfigSchema } from "../cli/src/peer-config.ts";
import { Activity } from "../services/dispatcher/src/activity.ts";
import { showDispatcher } from "../services/dispatcher/src/dispatcher-metrics.ts";
import { LoadMeter } from "../services/dispatcher/src/load-meter.ts";
import { createIngestMetrics } from "../services/ingest/src/ingest-metrics.ts";
import { showRelay } from "../services/relay/src/relay-metrics.ts";
import { dispatcherConfigSchema } from "../services/dispatcher/src/config.ts";
import { enricherConfigSchema } from "../services/enricher/src/config.ts";
import { ingestConfigSchema } from "../services/ingest/src/config.ts";
import { relayConfigSchema } from "../services/relay/src/config.ts";
import { spamWorkerConfigSchema } from "../services/spam-worker/src/config.ts";
import { startConfigSchema } from "../start/src/config.ts";
import { mongoDbConfigSchema } from "@rs-agent/kit/mongodb/config.ts";

const root = dirname(import.meta.dirname);
const read = (path: string) => readFileSync(join(root, path), "utf8");

const withDatabase = ["Every service", "Services with a database"];
const worker = ["Every service", "Workers"];
/**
 * Each program with its schemas. `shared` names sections of docs/settings.md besides its own;
 * `page` is the page with more about its settings.
 */
const programs: { name: string; schemas: z.ZodType[]; shared: string[]; page: string }[] = [
  { name: "ingest", schemas: [ingestConfigSchema], shared: withDatabase, page: "ingest" },
  { name: "dispatcher", schemas: [dispatcherConfigSchema], shared: withDatabase, page: "records" },
  { name: "relay", schemas: [relayConfigSchema], shared: withDatabase, page: "relay" },
  { name: "av-worker", schemas: [avWorkerConfigSchema], shared: worker, page: "clamd" },
  { name: "spam-worker", schemas: [spamWorkerConfigSchema], shared: worker, page: "spamd" },
  { name: "enricher", schemas: [enricherConfigSchema], shared: worker, page: "enrichment" },
  {
    name: "npm start",
    schemas: [startConfigSchema, mongoDbConfigSchema],
    shared: [],
    page: "set-up",
  },
  { name: "rs-agent", schemas: [cliConfigSchema, peerConfigSchema], shared: [], page: "cli" },
];

/** The settings in a schema, each with its default as docs/settings.md writes it. */
function settingsOf(schema: z.ZodType): Map<string, string> {
  if (schema instanceof z.ZodPipe) return settingsOf(schema.in as z.ZodType);
  if (!(schema instanceof z.ZodObject)) throw new Error("the settings are no object");
  const shape = Object.entries<z.ZodType>(schema.shape);
  return new Map(shape.map(([name, setting]) => [name, defaultText(setting)]));
}

function defaultText(setting: z.ZodType): string {
  if (setting instanceof z.ZodOptional) return "";
  if (setting instanceof z.ZodPipe) return defaultText(setting.in as z.ZodType);
  if (!(setting instanceof z.ZodDefault || setting instanceof z.ZodPrefault)) return "required";
  const value: unknown = setting.def.defaultValue;
  if (typeof value === "boolean") return value ? "on" : "off";
  const text = String(value);
  if (text === hostname()) return "host name";
  return text.includes("node_modules") ? "bundled" : text;
}

/** Names and defaults in the tables of a page or section whose rows describe one setting each. */
function rowsOf(text: string): Map<string, string> {
  const rows = text.matchAll(/^\| `([A-Z_]+)` *\|([^|]*)\|[^|]*\|$/gm);
  return new Map([...rows].map(([, name = "", cell = ""]) => [name, plain(cell)]));
}

function plain(cell: string): string {
  return cell.replaceAll("`", "").trim();
}

const sections = new Map(
  read("docs/settings.md")
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf("\n")), rowsOf(section)]),
);

describe("docs/settings.md", () => {
  it.each(programs)("has every setting of $name with its default", ({ name, schemas, shared }) => {
    const inCode = schemas.flatMap((schema) => [...settingsOf(schema)]);
    const inDocs = [...shared, name].flatMap((title) => [...(sections.get(title) ?? [])]);
    expect(Object.fromEntries(inDocs)).toEqual(Object.fromEntries(inCode));
  });

  it.each(programs)("agrees with the page $page on the numbers of $name", ({ schemas, page }) => {
    const inCode = new Map(schemas.flatMap((schema) => [...settingsOf(schema)]));
    const numbers = [...rowsOf(read(`docs/${page}.md`))].filter(([, text]) => /^\d+$/.test(text));
    expect(numbers).toEqual(numbers.map(([name]) => [name, inCode.get(name)]));
  });
});

/** Metrics read their source only when they are scraped, which does not happen here. */
const unread = {} as never;
const metricsOf: Record<string, (metrics: Metrics) => unknown> = {
  dispatcher(metrics) {
    showDispatcher(metrics, unread);
    showCommands(metrics, unread);
    return new Activity(metrics, new LoadMeter(() => 0));
  },
  workers: (metrics) => createWorkerMetrics(metrics, "virus", unread),
  ingest(metrics) {
    showCommands(metrics, unread);
    return createIngestMetrics(metrics, unread);
  },
  relay(metrics) {
    showCommands(metrics, unread);
    showRelay(metrics, unread);
  },
};

describe("docs/metrics.md", () => {
  it("has every metric with its type, its labels and its service", () => {
    const inCode = new Map<string, { type: string; labels: string[]; of: string[] }>();
    const add = (of: string, create: (metrics: Metrics) => unknown) => {
      const metrics = new Metrics();
      create(metrics);
      for (const { name, type, labels } of metrics.defined) {
        const before = inCode.get(name)?.of ?? [];
        inCode.set(name, { type, labels: [...labels], of: [...before, of] });
      }
    };
    add("all", (metrics) => showReadiness(metrics, "any", []));
    for (const [of, create] of Object.entries(metricsOf)) add(of, create);
    const rows = read("docs/metrics.md").matchAll(
      /^\| `(rs_agent_\w+)` *\|([^|]*)\|([^|]*)\|([^|]*)\| *(?:sum|max|min) *\|[^|]+\|$/gm,
    );
    const inDocs = [...rows].map(([, name, type = "", labels = "", of = ""]) => [
      name,
      {
        type: type.trim(),
        labels: plain(labels).split(" ").filter(Boolean),
        of: of.split(",").map((each) => each.trim()),
      },
    ]);
    expect(Object.fromEntries(inDocs)).toEqual(Object.fromEntries(inCode));
  });

  it("uses only its own metrics in rules and queries", () => {
    const text = read("docs/metrics.md");
    const named = new Set(text.match(/rs_agent_\w+/g) ?? []);
    const rows = new Set([...text.matchAll(/^\| `(rs_agent_\w+)`/gm)].map(([, name]) => name));
    expect([...named].filter((name) => !rows.has(name))).toEqual([]);
  });
});

const pages = globSync(["*.md", "docs/*.md", "*/README.md", "services/*/README.md"], {
  cwd: root,
  exclude: (path) => path.includes("node_modules"),
});

/** Links that stay in the repository: `[text](target#anchor)`. */
function linksIn(page: string): { target: string; anchor: string | undefined }[] {
  const text = read(page).replaceAll(/^```[^]*?^```/gm, "");
  return [...text.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(
    ([, target = "", anchor]) => ({ target, anchor }),
  );
}

/** GitHub's anchors of a page's headings. */
function anchorsOf(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

function exists(path: string): boolean {
  return globSync(path, { cwd: root }).length > 0;
}

describe("the documentation", () => {
  it("shows the example of a worker as it is", () => {
    const example = read("examples/typescript-worker/src/main.ts");
    expect(read("docs/write-a-worker.md")).toContain(`\`\`\`ts\n${example}\`\`\``);
    expect(example.split("\n").length).toBeLessThanOrEqual(61);
  });

  it.each(pages)("%s has no dead link", (page) => {
    const dead = linksIn(page).filter(({ target, anchor }) => {
      const path = target === "" ? page : relative(root, resolve(root, dirname(page), target));
      if (!exists(path)) return true;
      return anchor !== undefined && path.endsWith(".md") && !anchorsOf(path).includes(anchor);
    });
    expect(dead).toEqual([]);
  });

  it("names only files that exist", () => {
    const folders = "shared|services|cli|kit|start|bench|chaos|flood|deploy|docs|test";
    const path = new RegExp(
      String.raw`(?<!@rs-agent/)\b(?:${folders})/[\w./-]*\.(?:ts|mjs|md|yaml)\b`,
      "g",
    );
    const named = pages.flatMap((page) => read(page).match(path) ?? []);
    expect([...new Set(named)].filter((file) => !exists(file))).toEqual([]);
  });

  it("has every page that the code's comments name", () => {
    const code = globSync("{shared,services,cli,kit,start}/**/*.ts", {
      cwd: root,
      exclude: (path) => path.includes("node_modules"),
    });
    const named = code.flatMap((file) => read(file).match(/\bdocs\/[\w-]+\.md\b/g) ?? []);
    expect([...new Set(named)].filter((page) => !exists(page))).toEqual([]);
  });

  it("lists every page in its index", () => {
    const index = linksIn("docs/README.md").map(({ target }) => target);
    const others = globSync("docs/*.md", { cwd: root })
      .map((page) => relative("docs", page))
      .filter((page) => page !== "README.md");
    expect(others.filter((page) => !index.includes(page))).toEqual([]);
  });
});
