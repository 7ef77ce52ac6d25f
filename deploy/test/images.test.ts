import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { allocatorEnv, nodeOptions } from "@rs-agent/kit/processes/service-process.ts";
import { describe, expect, it } from "vitest";

const root = dirname(dirname(import.meta.dirname));
const withServices = ["Dockerfile", "deploy/av-worker/Dockerfile", "deploy/spam-worker/Dockerfile"];

describe.each(withServices)("%s", (file) => {
  const text = readFileSync(join(root, file), "utf8");
  const argumentsOf = (instruction: string) => {
    const list = new RegExp(`^${instruction} .*?(\\[.*\\])$`, "m").exec(text)?.[1] ?? "[]";
    return JSON.parse(list) as string[];
  };

  it("runs Node with the options that npm start gives", () => {
    const options = argumentsOf("ENTRYPOINT").filter((argument) => /^--\w/.test(argument));
    expect(options).toEqual(nodeOptions);
  });

  it("has large buffers given back, as under npm start", () => {
    for (const [name, value] of Object.entries(allocatorEnv))
      expect(text).toMatch(new RegExp(`^ENV .*\\b${name}=${value}$`, "m"));
  });

  it("serves health on port 9100 and asks it there whether it is ready", () => {
    expect(text).toMatch(/^ENV .*\bHEALTH_HTTP=0\.0\.0\.0:9100\b/m);
    expect(argumentsOf("HEALTHCHECK")).toEqual(["rs-agent", "ready"]);
    expect(text).toContain("ln -s /opt/rs-agent/cli/bin/rs-agent.mjs /usr/local/bin/rs-agent");
  });
});
