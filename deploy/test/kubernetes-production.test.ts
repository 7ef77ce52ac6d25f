/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment,
   @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-return, @typescript-eslint/no-unsafe-call --
   manifests are data of many shapes: a lookup that finds nothing fails the test */
import { dirname } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { allowedFlows, flowsIn } from "./network-flows.ts";
import { podOf, type Manifest } from "./kustomize.ts";
import {
  read,
  page,
  services,
  manifestsOf,
  find,
  workloads,
  container,
  environmentOf,
  isSelected,
} from "./manifests.ts";

describe("side-cars", () => {
  it.each([
    ["av-worker", "clamd"],
    ["spam-worker", "spamd"],
  ])("starts the engine of %s before it and stops it after it", (worker, engine) => {
    const sideCar = container("production", worker, engine);
    const { initContainers } = podOf(find("production", "Deployment", worker))?.spec;
    expect(initContainers).toEqual([sideCar]);
    expect(sideCar).toMatchObject({ restartPolicy: "Always", args: ["beside"] });
  });

  it("connects av-worker and clamd by the socket of clamd.conf", () => {
    const { AV_CLAMD } = environmentOf("production", container("production", "av-worker"));
    const [, socket = ""] = /^LocalSocket (.*)$/m.exec(read("deploy/clamav/clamd.conf")) ?? [];
    expect(AV_CLAMD).toBe(socket);
    for (const name of ["av-worker", "clamd"]) {
      expect(container("production", "av-worker", name).volumeMounts).toContainEqual({
        name: "clamd-socket",
        mountPath: dirname(socket),
      });
    }
  });

  it("has spamd and its worker agree on the number of children", () => {
    const of = (name: string) =>
      environmentOf("production", container("production", "spam-worker", name))["SPAM_CHILDREN"];
    expect(of("spamd")).toBe(of("spam-worker"));
    const { securityContext } = podOf(find("production", "Deployment", "spam-worker"))?.spec;
    expect(securityContext.sysctls).toEqual([
      { name: "net.ipv4.ip_unprivileged_port_start", value: "0" },
    ]);
  });

  it("has one writer of signatures and one of rules", () => {
    const writers = workloads("production").flatMap((workload) =>
      (podOf(workload)?.spec.volumes ?? [])
        .filter(({ persistentVolumeClaim: claim }: Manifest) => claim && !claim.readOnly)
        .map((volume: Manifest) => [volume.persistentVolumeClaim.claimName, workload]),
    );
    expect(writers.map(([claim, { metadata, spec }]) => [claim, metadata.name, spec])).toEqual([
      ["clamav-signatures", "freshclam", expect.objectContaining(alone)],
      ["spam-rules", "spam-rules", expect.objectContaining(alone)],
    ]);
  });
});

const alone = { replicas: 1, strategy: { type: "Recreate" } };

describe("components", () => {
  it("scales each kind of worker by what the dispatchers want of it", () => {
    const kinds = { "av-worker": "virus", "spam-worker": "spam", enricher: "enrich" };
    for (const [worker, kind] of Object.entries(kinds)) {
      const { spec } = find("production", "ScaledObject", worker);
      expect(spec.scaleTargetRef).toEqual({ kind: "Deployment", name: worker });
      // Applying again must not set a number that KEDA has changed.
      expect(find("production", "Deployment", worker).spec).not.toHaveProperty("replicas");
      const [{ metadata, metricType }] = spec.triggers;
      expect(metricType).toBe("AverageValue");
      expect(metadata).toMatchObject({ threshold: "1", ignoreNullValues: "false" });
      expect(metadata.query).toBe(
        `max(rs_agent_workers_wanted{kind="${kind}",namespace="rs-agent"})`,
      );
      expect(spec.minReplicaCount).toBeGreaterThan(0);
      expect(spec.maxReplicaCount).toBeGreaterThan(spec.minReplicaCount as number);
    }
    expect(read("docs/metrics.md")).toMatch(/^\| `rs_agent_workers_wanted` .* max /m);
  });

  it("scrapes each service at the port of its health", () => {
    const { spec } = find("production", "PodMonitor", "rs-agent");
    expect(spec.podMetricsEndpoints).toMatchObject([{ port: "health", path: "/metrics" }]);
    for (const service of services) {
      const workload = find("production", "Deployment", service);
      expect(isSelected(spec.selector.matchLabels, workload)).toBe(true);
    }
  });

  it("has the alerts of docs/metrics.md", () => {
    const [, text = ""] = /```yaml\n(groups:\n.*?)```/s.exec(read("docs/metrics.md")) ?? [];
    expect(find("production", "PrometheusRule", "rs-agent").spec).toEqual(parse(text));
  });

  it("renews spam-workers with a right to nothing else", () => {
    expect(find("production", "Role", "renew-spam-workers").rules).toEqual([
      {
        apiGroups: ["apps"],
        resources: ["deployments"],
        resourceNames: ["spam-worker"],
        verbs: ["get", "patch"],
      },
    ]);
  });
});

describe("network policies", () => {
  it("let through what the table of docs/kubernetes.md has, and nothing else", () => {
    const { flows } = allowedFlows(manifestsOf("production"));
    const names = workloads("production").map(({ metadata }) => metadata.name as string);
    const documented = flowsIn(page, names);
    expect(documented.length).toBeGreaterThan(30);
    expect(flows).toEqual(documented);
  });

  it("let submission in from the networks that ingest lets submit", () => {
    const { INGEST_SUBMISSION_CLIENTS: clients = "" } = environmentOf(
      "production",
      container("production", "ingest"),
    );
    const { flows } = allowedFlows(manifestsOf("production"));
    const from = flows
      .filter((flow) => flow.endsWith("> ingest:2587"))
      .map((flow) => flow.split(" ")[0]);
    expect(from).toEqual(clients.split(",").sort());
  });
});
