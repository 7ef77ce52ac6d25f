/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment,
   @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-return, @typescript-eslint/no-unsafe-call --
   manifests are data of many shapes: a lookup that finds nothing fails the test */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { loadConfig } from "@rs-agent/shared/config.ts";
import type { z } from "zod";
import { avWorkerConfigSchema } from "../../services/av-worker/src/config.ts";
import { dispatcherConfigSchema } from "../../services/dispatcher/src/config.ts";
import { enricherConfigSchema } from "../../services/enricher/src/config.ts";
import { ingestConfigSchema } from "../../services/ingest/src/config.ts";
import { relayConfigSchema } from "../../services/relay/src/config.ts";
import { spamWorkerConfigSchema } from "../../services/spam-worker/src/config.ts";
import { containersOf, podOf, render, type Manifest } from "./kustomize.ts";

const root = dirname(dirname(import.meta.dirname));
export const read = (path: string) => readFileSync(join(root, path), "utf8");
export const folder = join(root, "deploy/kubernetes");
export const page = read("docs/kubernetes.md");

export const schemas: Record<string, z.ZodType> = {
  ingest: ingestConfigSchema,
  dispatcher: dispatcherConfigSchema,
  "av-worker": avWorkerConfigSchema,
  "spam-worker": spamWorkerConfigSchema,
  enricher: enricherConfigSchema,
  relay: relayConfigSchema,
};
export const services = Object.keys(schemas);
export const overlays = readdirSync(join(folder, "overlays"));
const rendered = new Map(overlays.map((name) => [name, render(join(folder, "overlays", name))]));

/* What is looked up must be there: `undefined` in its place would make a comparison of nothing. */

export function manifestsOf(overlay: string): Manifest[] {
  const manifests = rendered.get(overlay);
  if (manifests === undefined) throw new Error(`there is no overlay ${overlay}`);
  return manifests;
}

export function find(overlay: string, kind: string, name: string): Manifest {
  const found = manifestsOf(overlay).find((one) => one.kind === kind && one.metadata.name === name);
  if (found === undefined) throw new Error(`${overlay} has no ${kind} ${name}`);
  return found;
}

export function ofKind(overlay: string, ...kinds: string[]): Manifest[] {
  const found = manifestsOf(overlay).filter(({ kind }) => kinds.includes(kind as string));
  if (found.length === 0) throw new Error(`${overlay} has no ${kinds.join(" or ")}`);
  return found;
}

export function workloads(overlay: string): Manifest[] {
  return manifestsOf(overlay).filter((one) => podOf(one) !== undefined);
}

export function container(overlay: string, workload: string, name = workload): Manifest {
  const found = containersOf(find(overlay, "Deployment", workload)).find(
    (one) => one.name === name,
  );
  if (found === undefined) throw new Error(`${workload} has no container ${name}`);
  return found;
}

/** As the kubelet makes it: maps first, then what the container itself says. */
export function environmentOf(overlay: string, { envFrom = [], env = [] }: Manifest) {
  const maps = envFrom.map(
    (from: Manifest) => find(overlay, "ConfigMap", from.configMapRef.name as string).data,
  );
  const own = env.map((one: Manifest) => [one.name, one.value ?? "a field of the pod"]);
  return Object.assign({}, ...maps, Object.fromEntries(own)) as Record<string, string>;
}

export function settingsOf(overlay: string, service: string): Manifest {
  const env = environmentOf(overlay, container(overlay, service));
  // The files are not here; that their names lead into a mounted secret is tested separately.
  const here = { ...env, MONGODB_USERNAME_FILE: "", MONGODB_PASSWORD_FILE: "" };
  return loadConfig(schemas[service] as z.ZodType, here);
}

const labelsOf = (workload: Manifest) => podOf(workload)?.metadata.labels as object;

export function isSelected(selector: Record<string, string>, workload: Manifest): boolean {
  const labels = new Map(Object.entries(labelsOf(workload)));
  return Object.entries(selector).every(([key, value]) => labels.get(key) === value);
}

export function bytesOf(quantity: string): number {
  const [, digits, unit] = /^(\d+)(Mi|Gi)$/.exec(quantity) ?? [];
  if (digits === undefined) throw new Error(`"${quantity}" is not an amount of memory`);
  return Number(digits) * (unit === "Gi" ? 2 ** 30 : 2 ** 20);
}
