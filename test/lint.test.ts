import { join } from "node:path";
import { ESLint } from "eslint";
import tseslint from "typescript-eslint";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
/** The project's own rules, except those that need types, which take half a minute. */
const eslint = new ESLint({
  cwd: root,
  overrideConfig: {
    ...tseslint.configs.disableTypeChecked,
    files: ["**/*.ts"],
    languageOptions: { parserOptions: { project: false, program: null, projectService: false } },
  } as unknown as ESLint.Options["overrideConfig"],
});

/** The rules that this import would break in the file. */
async function brokenBy(file: string, imported: string): Promise<(string | null)[]> {
  const text = `import * as imported from "${imported}";\nexport { imported };\n`;
  const [result] = await eslint.lintText(text, { filePath: join(root, file) });
  return (result?.messages ?? []).map(({ ruleId }) => ruleId);
}

const paths = "import-x/no-restricted-paths";
const undeclared = "import-x/no-extraneous-dependencies";
const restricted = "no-restricted-imports";

describe("who may import whom", () => {
  it.each([
    ["services/relay/src/reply.ts", "../../ingest/src/reply.ts"],
    ["services/relay/test/delivery.test.ts", "../../ingest/src/reply.ts"],
    ["services/relay/src/reply.ts", "../../../kit/src/random.ts"],
    ["services/dispatcher/src/main.ts", "../../../cli/src/table.ts"],
    ["shared/src/ids.ts", "../../services/relay/src/reply.ts"],
    ["shared/src/mail/dsn.ts", "../life/transitions.ts"],
    ["shared/src/ids.ts", "../../kit/src/random.ts"],
    ["kit/src/random.ts", "../../flood/src/command.ts"],
    ["start/src/main.ts", "../../chaos/src/command.ts"],
    ["chaos/src/chaos.ts", "../../start/src/progress.ts"],
    ["flood/src/flood.ts", "../../chaos/src/chaos.ts"],
    ["bench/src/bus.ts", "../../flood/src/command.ts"],
    ["flood/src/flood.ts", "../../cli/src/table.ts"],
    ["cli/src/commands/chaos.ts", "@rs-agent/chaos/chaos.ts"],
    ["cli/src/commands/flood.ts", "../../../start/src/progress.ts"],
    ["shared/src/mail/record.ts", "../policy/rules.ts"],
    ["shared/src/bus/wire.ts", "../worker/handler.ts"],
    ["shared/src/worker/handler.ts", "../engines/engine-pool.ts"],
    ["shared/src/store/mails.ts", "../bus/wire.ts"],
    ["shared/src/checks/finding.ts", "../mail/record.ts"],
    ["shared/src/mail/record.ts", "../life/endings.ts"],
    ["shared/src/life/endings.ts", "../store/mails.ts"],
  ])("%s may not import %s", async (file, imported) => {
    expect(await brokenBy(file, imported)).toContain(paths);
  });

  it.each([
    ["services/relay/src/reply.ts", "@rs-agent/shared/ids.ts"],
    ["services/relay/test/delivery.test.ts", "@rs-agent/kit/smtp/maildir-server.ts"],
    ["cli/src/commands/chaos.ts", "@rs-agent/chaos/command.ts"],
    ["flood/src/flood.ts", "@rs-agent/kit/random.ts"],
    ["shared/src/policy/rules.ts", "../mail/record.ts"],
    ["shared/src/worker/worker.ts", "../bus/wire.ts"],
    ["shared/src/mail/record.ts", "../life/outcomes.ts"],
    ["shared/src/life/endings.ts", "../mail/record.ts"],
    ["shared/test/config.test.ts", "fast-check"],
  ])("%s may import %s", async (file, imported) => {
    expect(await brokenBy(file, imported)).toEqual([]);
  });

  it("no package imports what its package.json does not name", async () => {
    expect(await brokenBy("services/relay/src/reply.ts", "smtp-server")).toContain(undeclared);
    expect(await brokenBy("shared/src/ids.ts", "vitest")).toContain(undeclared);
    expect(await brokenBy("kit/src/random.ts", "@rs-agent/enricher/dkim/key.ts")).toContain(
      undeclared,
    );
  });

  it("no two modules import each other", async () => {
    // chaos.ts imports it.
    expect(await brokenBy("chaos/src/memory.ts", "./chaos.ts")).toContain("import-x/no-cycle");
  });

  it.each([
    ["shared/src/store/mails.ts", "zeromq"],
    ["shared/src/bus/wire.ts", "msgpackr"],
    ["shared/src/bus/codec.ts", "mongodb"],
    ["shared/src/bus/codec.ts", "pino"],
    ["shared/src/store/mails.ts", "prom-client"],
  ])("%s may not import %s", async (file, imported) => {
    expect(await brokenBy(file, imported)).toContain(restricted);
  });
});
