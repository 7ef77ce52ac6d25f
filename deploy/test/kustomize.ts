/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment,
   @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-return --
   manifests are data of many shapes: a lookup that finds nothing fails the test */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";

/*
 * As much of kustomize as deploy/kubernetes uses; a field that is not known here is an error, so that
 * nothing of a kustomization goes unlooked at.
 */

// Manifests are what their authors write: the test looks things up in them, and says what is not there.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Manifest = any;

interface Generator {
  name: string;
  behavior?: "create" | "merge";
  literals?: string[];
  files?: string[];
  options?: { disableNameSuffixHash?: boolean };
}

interface Patch {
  target: { kind: string; name: string };
  patch: string;
}

interface Operation {
  op: "add" | "replace" | "remove";
  path: string;
  value?: unknown;
}

const yaml = { version: "1.1" } as const;

/** All manifests of a kustomization. Names have no hashes, and generated files no contents. */
export function render(folder: string): Manifest[] {
  const manifests: Manifest[] = [];
  build(folder, manifests);
  return manifests;
}

function build(folder: string, manifests: Manifest[]): void {
  const text = readFileSync(join(folder, "kustomization.yaml"), "utf8");
  const steps = parse(text, yaml) as Record<string, unknown>;
  for (const [field, value] of Object.entries(steps)) {
    if (!(field in known)) throw new Error(`${folder}: ${field} is not known`);
    known[field as keyof typeof known](value as never, manifests, folder);
  }
}

const known = {
  apiVersion: () => undefined,
  kind: () => undefined,
  // The one of all of them.
  namespace: () => undefined,
  resources: addResources,
  components: (folders: string[], manifests: Manifest[], folder: string) => {
    for (const component of folders) build(join(folder, component), manifests);
  },
  configMapGenerator: (generators: Generator[], manifests: Manifest[]) => {
    for (const generator of generators) generate("ConfigMap", generator, manifests);
  },
  secretGenerator: (generators: Generator[], manifests: Manifest[]) => {
    for (const generator of generators) generate("Secret", generator, manifests);
  },
  replicas: (replicas: { name: string; count: number }[], manifests: Manifest[]) => {
    for (const { name, count } of replicas) {
      only(manifests, "Deployment", name).spec.replicas = count;
    }
  },
  patches: (patches: Patch[], manifests: Manifest[]) => {
    for (const patch of patches) applyPatch(patch, manifests);
  },
  images: (images: { name: string; newTag: string }[], manifests: Manifest[]) => {
    for (const container of manifests.flatMap(containersOf)) {
      const image = images.find(({ name }) => name === container.image);
      if (image !== undefined) container.image = `${image.name}:${image.newTag}`;
    }
  },
};

function addResources(resources: string[], manifests: Manifest[], folder: string): void {
  for (const resource of resources) {
    const path = join(folder, resource);
    if (!resource.endsWith(".yaml")) build(path, manifests);
    else manifests.push(...manifestsIn(path));
  }
}

function manifestsIn(path: string): Manifest[] {
  return parseAllDocuments(readFileSync(path, "utf8"), yaml).map((document) => {
    if (document.errors.length > 0) throw new Error(`${path}: ${String(document.errors[0])}`);
    return document.toJS();
  });
}

function generate(kind: string, generator: Generator, manifests: Manifest[]): void {
  const { name, behavior = "create", literals = [], files = [] } = generator;
  const data: Record<string, string> = Object.fromEntries([
    ...literals.map((literal) => split(literal)),
    ...files.map((file) => [file.includes("=") ? split(file)[0] : file.split("/").at(-1), ""]),
  ]);
  if (behavior === "create") manifests.push({ kind, metadata: { name }, data });
  else Object.assign(only(manifests, kind, name).data, data);
}

function split(literal: string): [string, string] {
  const at = literal.indexOf("=");
  return [literal.slice(0, at), literal.slice(at + 1)];
}

function only(manifests: Manifest[], kind: string, name: string): Manifest {
  const found = manifests.filter((one) => one.kind === kind && one.metadata.name === name);
  if (found.length !== 1) throw new Error(`${found.length} of ${kind} ${name}`);
  return found[0];
}

function applyPatch({ target, patch }: Patch, manifests: Manifest[]): void {
  const name = new RegExp(`^(?:${target.name})$`);
  const found = manifests.filter(
    (one) => one.kind === target.kind && name.test(one.metadata.name as string),
  );
  if (found.length === 0) throw new Error(`a patch finds no ${target.kind} ${target.name}`);
  for (const manifest of found) {
    for (const operation of parse(patch, yaml) as Operation[]) operate(manifest, operation);
  }
}

/** RFC 6902, on paths without escapes. */
function operate(manifest: Manifest, { op, path, value }: Operation): void {
  const keys = path.split("/").slice(1);
  const last = keys.pop() ?? "";
  const parent = keys.reduce<Manifest>((inner, key) => inner[key], manifest);
  if (op === "add" && Array.isArray(parent)) {
    parent.splice(last === "-" ? parent.length : Number(last), 0, value);
    return;
  }
  if (op !== "add" && !(last in parent)) throw new Error(`${path} is not there to ${op}`);
  if (op === "remove") Reflect.deleteProperty(parent, last);
  else parent[last] = value;
}

/** The pod that a manifest makes; undefined for others. */
export function podOf(manifest: Manifest): Manifest {
  const { kind, spec } = manifest;
  if (kind === "CronJob") return spec.jobTemplate.spec.template;
  return ["Deployment", "StatefulSet", "Job"].includes(kind) ? spec.template : undefined;
}

/** First those that run beside the others or before them. */
export function containersOf(manifest: Manifest): Manifest[] {
  const spec = podOf(manifest)?.spec;
  return spec === undefined ? [] : [...(spec.initContainers ?? []), ...spec.containers];
}
