/** What the image runs by name, with its file in the project. */
export const programs = {
  ingest: { kind: "service", file: "services/ingest/src/main.ts" },
  dispatcher: { kind: "service", file: "services/dispatcher/src/main.ts" },
  "av-worker": { kind: "service", file: "services/av-worker/src/main.ts" },
  "spam-worker": { kind: "service", file: "services/spam-worker/src/main.ts" },
  enricher: { kind: "service", file: "services/enricher/src/main.ts" },
  relay: { kind: "service", file: "services/relay/src/main.ts" },
  sink: { kind: "service", file: "deploy/agent/sink.ts" },
  "bus-keys": { kind: "command", file: "deploy/agent/bus-keys-main.ts" },
  "replica-set": { kind: "command", file: "deploy/agent/replica-set.ts" },
  "rs-agent": { kind: "command", file: "cli/src/rs-agent.ts" },
  "clamav-cli": { kind: "command", file: "cli/src/clamav-cli.ts" },
} as const;

export function usage(): string {
  const named = (kind: "service" | "command") =>
    Object.entries(programs)
      .filter(([, program]) => program.kind === kind)
      .map(([name]) => name)
      .join(", ");
  return [
    "usage: docker run radicalspam/rs-agent NAME [arguments]",
    `  services: ${named("service")}`,
    `  commands: ${named("command")} (each has --help); any other program of the image, such as ls`,
    "  settings are environment variables: docs/settings.md",
    "",
  ].join("\n");
}
