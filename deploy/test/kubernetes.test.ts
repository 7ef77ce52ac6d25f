/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment,
   @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-return, @typescript-eslint/no-unsafe-call --
   manifests are data of many shapes: a lookup that finds nothing fails the test */
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { z } from "zod";
import type { dispatcherConfigSchema } from "../../services/dispatcher/src/config.ts";
import { allowedFlows } from "./network-flows.ts";
import { containersOf, podOf, type Manifest } from "./kustomize.ts";
import {
  read,
  folder,
  page,
  services,
  overlays,
  manifestsOf,
  find,
  ofKind,
  workloads,
  container,
  environmentOf,
  settingsOf,
  isSelected,
  bytesOf,
} from "./manifests.ts";

it("applies every file of deploy/kubernetes", () => {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".yaml") && !file.includes("keys/"))
    .filter((file) => basename(file) !== "kustomization.yaml");
  const unused = files.filter((file) => {
    const { resources } = parse(
      readFileSync(join(folder, dirname(file), "kustomization.yaml"), "utf8"),
    ) as { resources: string[] };
    return !resources.includes(basename(file));
  });
  expect(files.length).toBeGreaterThan(10);
  expect(unused).toEqual([]);
});

describe.each(overlays)("overlays/%s", (overlay) => {
  it("gives services settings that they take and that docs/settings.md has", () => {
    const documented = read("docs/settings.md") + read("docs/deploy.md");
    for (const service of services) {
      expect(() => settingsOf(overlay, service) as unknown, service).not.toThrow();
      const names = Object.keys(environmentOf(overlay, container(overlay, service)));
      expect(names.length).toBeGreaterThan(10);
      expect(names.filter((name) => !documented.includes(`| \`${name}\``))).toEqual([]);
    }
  });

  it("gives each service longer to stop than it takes to drain, and that than its longest task", () => {
    const dispatcher = settingsOf(overlay, "dispatcher") as z.output<typeof dispatcherConfigSchema>;
    const longestTaskMs =
      dispatcher.TASK_DEADLINE_MS +
      (dispatcher.TASK_DEADLINE_PER_MB_MS * dispatcher.MAX_MAIL_BYTES) / 1e6;
    for (const service of services) {
      const graceMs =
        podOf(find(overlay, "Deployment", service))?.spec.terminationGracePeriodSeconds * 1_000;
      const drainMs = settingsOf(overlay, service).DRAIN_MS as number;
      expect(drainMs, service).toBeGreaterThan(longestTaskMs);
      // 5 s before SIGTERM at ingest, 2 s after the drain, and 20 s for a side-car.
      expect(graceMs, service).toBeGreaterThan(drainMs + 5_000 + 2_000 + 20_000);
    }
    const { timeouts, DRAIN_MS } = settingsOf(overlay, "relay");
    expect(DRAIN_MS).toBeGreaterThan(timeouts.finalMs as number);
  });

  it("gives memory for all the mail that a service may hold", () => {
    const held = {
      ingest: "INGEST_MAX_BYTES_IN_FLIGHT",
      dispatcher: "MAX_HELD_BYTES",
      relay: "RELAY_HELD_BYTES",
      "av-worker": "BUS_CREDIT_BYTES",
      "spam-worker": "BUS_CREDIT_BYTES",
      enricher: "BUS_CREDIT_BYTES",
    };
    for (const [service, setting] of Object.entries(held)) {
      const limit = bytesOf(container(overlay, service).resources.limits.memory as string);
      const heldBytes = settingsOf(overlay, service)[setting] as number;
      expect(limit, service).toBeGreaterThan(heldBytes + 200e6);
    }
  });

  it("runs images that deploy/build.sh builds, with what they run by name", () => {
    const built = [...read("deploy/build.sh").matchAll(/\$registry\/(rs-\w+)/g)].map(
      ([, name]) => `radicalspam/${name ?? ""}`,
    );
    const others = ["mongo:8", "registry.k8s.io/kubectl:v1.34.1"];
    for (const { image } of workloads(overlay).flatMap(containersOf)) {
      expect([...built.map((name) => `${name}:latest`), ...others]).toContain(image);
    }
  });

  it("hardens each pod and container, with limits", () => {
    for (const workload of workloads(overlay)) {
      const { name } = workload.metadata;
      const spec = podOf(workload)?.spec;
      expect(spec.securityContext, name).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: "RuntimeDefault" },
      });
      expect(spec.enableServiceLinks, name).toBe(false);
      expect(spec.automountServiceAccountToken, name).toBe(name === "renew-spam-workers");
      for (const one of containersOf(workload)) {
        expect(one.securityContext, `${name} ${one.name}`).toMatchObject({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
        const { requests, limits } = one.resources;
        expect(bytesOf(limits.memory as string)).toBeGreaterThanOrEqual(
          bytesOf(requests.memory as string),
        );
        expect(requests.cpu).toMatch(/^\d+m?$/);
      }
    }
  });

  it("probes each service where it serves its health", () => {
    for (const service of services) {
      const { ports, livenessProbe, readinessProbe, startupProbe } = container(overlay, service);
      expect(settingsOf(overlay, service).HEALTH_HTTP).toEqual({ host: "0.0.0.0", port: 9100 });
      expect(ports).toContainEqual({ name: "health", containerPort: 9100 });
      expect(livenessProbe.httpGet).toEqual({ path: "/healthz", port: "health" });
      expect(startupProbe.httpGet).toEqual({ path: "/healthz", port: "health" });
      expect(readinessProbe.httpGet).toEqual({ path: "/readyz", port: "health" });
    }
  });

  it("selects by labels that pods have", () => {
    for (const workload of ofKind(overlay, "Deployment", "StatefulSet")) {
      const { matchLabels } = workload.spec.selector;
      const selected = workloads(overlay).filter((one) => isSelected(matchLabels, one));
      expect(selected.map(({ metadata }) => metadata.name)).toEqual([workload.metadata.name]);
      for (const spread of podOf(workload)?.spec.topologySpreadConstraints ?? []) {
        expect(spread.labelSelector.matchLabels).toEqual(matchLabels);
      }
    }
    for (const service of services) {
      const { spec } = find(overlay, "PodDisruptionBudget", service);
      expect(spec.selector).toEqual(find(overlay, "Deployment", service).spec.selector);
      // A minimum would keep a node from being emptied where one pod runs.
      expect(spec.maxUnavailable).toBe(1);
    }
  });

  it("has services whose ports are their pods'", () => {
    for (const { metadata, spec } of ofKind(overlay, "Service")) {
      const behind = workloads(overlay).filter((one) => isSelected(spec.selector, one));
      expect(behind.length, metadata.name).toBe(1);
      const ports = containersOf(behind[0]).flatMap((one) => one.ports ?? []);
      const names = ports.map(({ name }: Manifest) => name as string);
      for (const { targetPort } of spec.ports) expect(names).toContain(targetPort);
    }
  });

  it("lets workers and relays find all dispatchers by one name, those that drain, too", () => {
    const { spec } = find(overlay, "Service", "dispatcher");
    expect(spec).toMatchObject({ clusterIP: "None", publishNotReadyAddresses: true });
    const { BUS_BIND } = settingsOf(overlay, "dispatcher");
    for (const worker of ["av-worker", "spam-worker", "enricher", "relay"]) {
      const env = environmentOf(overlay, container(overlay, worker));
      expect(env["BUS_DISPATCHERS"]).toBe(`tcp://dispatcher:${spec.ports[0].port as number}`);
      expect(env["BUS_BIND"]).toMatch(/:5601$/);
      expect(container(overlay, worker).ports).toContainEqual({
        name: "mailbox",
        containerPort: 5601,
      });
      const ofDatabase = Object.keys(env).filter((name) => name.startsWith("MONGODB"));
      if (worker !== "relay") expect(ofDatabase).toEqual([]);
    }
    expect(String(BUS_BIND)).toMatch(/:5600$/);
  });

  it("mounts what is there, and mounts all of it", () => {
    for (const workload of workloads(overlay)) {
      const { volumes = [] } = podOf(workload)?.spec;
      const claims = workload.spec.volumeClaimTemplates ?? [];
      const there = [...volumes, ...claims.map((one: Manifest) => one.metadata)];
      const mounts = containersOf(workload).flatMap((one) => one.volumeMounts ?? []);
      const names = (all: Manifest[]) => [...new Set(all.map(({ name }) => name as string))].sort();
      expect(names(mounts), workload.metadata.name).toEqual(names(there));
    }
  });

  it("refers to maps, claims, accounts and secrets that are there or that the page tells to make", () => {
    const has = (kind: string, name: string) =>
      manifestsOf(overlay).some((one) => one.kind === kind && one.metadata.name === name);
    const yours = [...page.matchAll(/^\| `([\w-]+)` /gm)].map(([, name]) => name);
    const missing = workloads(overlay).flatMap((workload) => {
      const { serviceAccountName, volumes = [] } = podOf(workload)?.spec;
      const claims = volumes.flatMap((one: Manifest) => one.persistentVolumeClaim ?? []);
      const maps = volumes.flatMap((one: Manifest) => one.configMap ?? []);
      return [
        ...(has("ServiceAccount", serviceAccountName as string) ? [] : [serviceAccountName]),
        ...claims
          .map(({ claimName }: Manifest) => claimName)
          .filter((name: string) => !has("PersistentVolumeClaim", name)),
        ...maps.map(({ name }: Manifest) => name).filter((name: string) => !has("ConfigMap", name)),
        ...secretsOf(volumes).filter((name) => !has("Secret", name) && !yours.includes(name)),
      ];
    });
    expect(missing).toEqual([]);
    expect(ofKind(overlay, "Secret").map(({ metadata }) => metadata.name)).toEqual(
      expect.arrayContaining(["bus-dispatcher", "bus-av-worker"]),
    );
  });

  it("names files where a volume with them is mounted", () => {
    const files: Record<string, string> = {};
    for (const service of services) {
      const one = container(overlay, service);
      const { volumes } = podOf(find(overlay, "Deployment", service))?.spec;
      for (const [name, value] of Object.entries(environmentOf(overlay, one))) {
        if (!/_(FILE|CERT|KEY|DIR)$/.test(name) || value === "") continue;
        const path = name.endsWith("_DIR") ? `${value}/x` : value;
        const mount = one.volumeMounts.find(
          ({ mountPath }: Manifest) => mountPath === dirname(path),
        );
        expect(mount, `${service}: ${name}=${value}`).toBeDefined();
        const { secret, configMap } = volumes.find(
          (volume: Manifest) => volume.name === mount.name,
        );
        const kind = secret === undefined ? "ConfigMap" : "Secret";
        const source = (secret?.secretName ?? configMap?.name ?? "projected") as string;
        const made = manifestsOf(overlay).find(
          (manifest) => manifest.kind === kind && manifest.metadata.name === source,
        );
        if (made !== undefined) expect(Object.keys(made.data as object)).toContain(basename(path));
        files[`${service} ${name}`] = source;
        // Keys that others may read are refused: 0440, the group being fsGroup.
        if (secret !== undefined) expect(secret.defaultMode, `${service} ${source}`).toBe(0o440);
      }
    }
    for (const service of services.filter((name) => name !== "ingest")) {
      expect(files[`${service} BUS_KEY_FILE`]).toBe(`bus-${service}`);
      expect(files[`${service} BUS_ALLOW_FILE`]).toBe("bus-allow");
    }
  });

  it("puts no secret into an environment variable", () => {
    const all = workloads(overlay).flatMap(containersOf);
    const names = all.flatMap((one) => Object.keys(environmentOf(overlay, one)));
    expect(names.filter((name) => /(PASSWORD|TOKEN|CREDENTIAL|SECRET)$/.test(name))).toEqual([]);
    expect(all.filter(({ env = [] }) => JSON.stringify(env).includes("secretKeyRef"))).toEqual([]);
    expect(JSON.stringify(manifestsOf(overlay))).not.toMatch(/mongodb(\+srv)?:\/\/[^/"]*@/);
  });

  it("answers within the namespace every flow that leaves for it", () => {
    const { halfOpen } = allowedFlows(manifestsOf(overlay));
    expect(halfOpen).toEqual([]);
  });

  it("denies what no policy names", () => {
    expect(find(overlay, "NetworkPolicy", "default-deny").spec).toEqual({
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
    });
  });
});

function secretsOf(volumes: Manifest[]): string[] {
  return volumes.flatMap(({ secret, projected }) => [
    ...(secret === undefined ? [] : [secret.secretName as string]),
    ...(projected?.sources ?? []).map((source: Manifest) => source.secret.name as string),
  ]);
}
