/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment,
   @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-call --
   manifests are data of many shapes: a lookup that finds nothing fails the test */
import { podOf, type Manifest } from "./kustomize.ts";

/** Flows as `from > to:port`; who is none of our pods is `anywhere`, a network, or `namespace NAME`. */
export interface AllowedFlows {
  /** Sorted. Between pods only what one may send and the other may take. */
  flows: string[];
  /** Between pods: what only one of the two is allowed. */
  halfOpen: string[];
}

interface Flow {
  from: string;
  to: string;
  port: number;
}

const shown = ({ from, to, port }: Flow) => `${from} > ${to}:${port}`;
const nameLabel = "app.kubernetes.io/name";

/** What the NetworkPolicies among the manifests let through, together. */
export function allowedFlows(manifests: Manifest[]): AllowedFlows {
  const pods = new Map<string, Map<string, string>>();
  for (const manifest of manifests) {
    const labels = podOf(manifest)?.metadata.labels as Record<string, string> | undefined;
    if (labels !== undefined) pods.set(labels[nameLabel] ?? "", new Map(Object.entries(labels)));
  }
  const policies = manifests.filter(({ kind }) => kind === "NetworkPolicy");
  const into: Flow[] = [];
  const outOf: Flow[] = [];
  for (const { spec } of policies) {
    const here = selected(spec.podSelector, pods);
    for (const { from, ports } of spec.ingress ?? []) {
      for (const [peer, to, port] of each(peersOf(from, pods), here, ports)) {
        into.push({ from: peer, to, port });
      }
    }
    for (const { to, ports } of spec.egress ?? []) {
      for (const [peer, from, port] of each(peersOf(to, pods), here, ports)) {
        outOf.push({ from, to: peer, port });
      }
    }
  }
  return combined(into, outOf, new Set(pods.keys()));
}

function combined(into: Flow[], outOf: Flow[], pods: Set<string>): AllowedFlows {
  const leaves = new Set(outOf.map(shown));
  const enters = new Set(into.map(shown));
  const isSent = (flow: Flow) =>
    !pods.has(flow.from) ||
    leaves.has(shown(flow)) ||
    leaves.has(shown({ ...flow, to: "anywhere" }));
  const isTaken = (flow: Flow) => !pods.has(flow.to) || enters.has(shown(flow));
  const open = (flow: Flow) => isSent(flow) && isTaken(flow);
  const all = [...into, ...outOf];
  const unique = (flows: Flow[]) => [...new Set(flows.map(shown))].sort();
  return { flows: unique(all.filter(open)), halfOpen: unique(all.filter((flow) => !open(flow))) };
}

function* each(
  peers: string[],
  here: string[],
  ports: { port: number }[],
): Generator<[peer: string, pod: string, port: number]> {
  for (const peer of peers) {
    for (const pod of here) for (const { port } of ports) yield [peer, pod, port];
  }
}

function selected(selector: Manifest, pods: Map<string, Map<string, string>>): string[] {
  const { matchLabels = {}, matchExpressions = [] } = selector;
  const wanted = Object.entries(matchLabels as Record<string, string>);
  const found = [...pods].filter(
    ([, labels]) =>
      wanted.every(([key, value]) => labels.get(key) === value) &&
      matchExpressions.every(
        ({ key, values }: Manifest) => values.includes(labels.get(key as string)) as boolean,
      ),
  );
  const values = matchExpressions.flatMap((one: Manifest) => one.values as string[]);
  const unknown = values.filter((value: string) => !pods.has(value));
  if (found.length === 0 || unknown.length > 0) {
    throw new Error(`${JSON.stringify(selector)} selects nothing, or names nobody`);
  }
  return found.map(([name]) => name);
}

function peersOf(peers: Manifest[] | undefined, pods: Map<string, Map<string, string>>): string[] {
  if (peers === undefined) return ["anywhere"];
  return peers.flatMap(({ podSelector, namespaceSelector, ipBlock }) => {
    if (ipBlock !== undefined) return [ipBlock.cidr as string];
    if (namespaceSelector === undefined) return selected(podSelector, pods);
    const namespace = namespaceSelector.matchLabels["kubernetes.io/metadata.name"] as string;
    const app = podSelector?.matchLabels["k8s-app"] as string | undefined;
    return [app ?? `namespace ${namespace}`];
  });
}

/** The flows of a page's table with the columns From, To and Port; `all` are `pods`. */
export function flowsIn(page: string, pods: string[]): string[] {
  const [, rows = ""] =
    /^\| From +\| To +\| Port +\|.*\n\|[-| ]+\|\n((?:\|.*\n)+)/m.exec(page) ?? [];
  const cells = (row: string) => row.split("|").map((cell) => cell.trim().split(/, */));
  const flows = rows
    .trim()
    .split("\n")
    .flatMap((row) => {
      const [, from = [], to = [], ports = []] = cells(row);
      const senders = from.flatMap((name) => (name === "all" ? pods : [name]));
      return senders.flatMap((sender) =>
        to.flatMap((taker) => ports.map((port) => `${sender} > ${taker}:${port}`)),
      );
    });
  return [...new Set(flows)].sort();
}
