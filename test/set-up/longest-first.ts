import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Files that take minutes, mostly waiting, the longest first. If they began last, they would run on
 * alone at the end.
 */
const longest = [
  "test/simulation/simulation.test.ts",
  "chaos/test/chaos.test.ts",
  "services/dispatcher/test/poison-mail.test.ts",
  "test/engines-away.test.ts",
  "test/drain.test.ts",
  "services/relay/test/poison-mail.test.ts",
  "services/dispatcher/test/poison-record.test.ts",
  "start/test/start.test.ts",
  "test/flood.test.ts",
  "test/kill-smoke.test.ts",
];

/** The order of test files; those not named keep Vitest's own order. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const at = longest.findIndex((file) => moduleId.endsWith(`/${file}`));
      return at < 0 ? longest.length : at;
    };
    return (await super.sort(files)).toSorted((one, other) => place(one) - place(other));
  }
}
