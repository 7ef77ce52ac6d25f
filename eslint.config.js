import { globSync } from "node:fs";
import { join } from "node:path";
import { createNodeResolver, importX } from "eslint-plugin-import-x";
import tseslint from "typescript-eslint";

/** Who may import what: CONTRIBUTING, "Who may import whom". `test/lint.test.ts` shows that each rule here is alive. */
const only = (name, where) => ({ name, message: `${name} is imported only in ${where}` });
const zeromq = only("zeromq", "shared/src/bus");
const msgpackr = only("msgpackr", "shared/src/bus/codec.ts");
const mongodb = only("mongodb", "shared/src/store");
const pino = only("pino", "shared/src/logger.ts");
const promClient = only("prom-client", "shared/src/health/metrics.ts");
const restrict = (...paths) => ({ "no-restricted-imports": ["error", { paths }] });

const root = import.meta.dirname;
const services = globSync("services/*", { cwd: root });
const siblings = ["start", "bench", "chaos", "flood"];
const examples = ["examples/typescript-worker"];
const packages = ["shared", ...services, "cli", "kit", ...siblings, ...examples];

/** A package may import what its own package.json names; tests also what those of the project name for development. */
const declared = (packageDir) => ({
  "import-x/no-extraneous-dependencies": [
    "error",
    { packageDir, devDependencies: ["**/test/**", "*.config.ts"] },
  ],
});

const zone = (target, from, message, except = []) =>
  from.map((folder) => ({ target: `./${target}`, from: `./${folder}`, except, message }));
/** In shared/src each folder imports from those before it, and from the single files there. */
const sharedOrder = [
  "checks",
  "mail",
  "policy",
  "life",
  "health",
  "store",
  "bus",
  "worker",
  "engines",
];
/** The words of a mail's life, which import nothing and are for all. */
const words = ["./outcomes.ts", "./states.ts", "./events.ts"];
const others = (folders, own) => folders.filter((folder) => folder !== own);
const zones = [
  ...zone(
    "shared/src",
    [...services, "cli", "kit", ...siblings, ...examples],
    "shared imports nobody",
  ),
  ...sharedOrder.flatMap((folder, at) =>
    zone(
      `shared/src/${folder}`,
      sharedOrder.slice(at + 1).map((later) => `shared/src/${later}`),
      `folders of shared/src import in this order: ${sharedOrder.join(", ")}`,
      words,
    ),
  ),
  ...services.flatMap((own) => [
    ...zone(own, others(services, own), "services meet on the bus and in the database"),
    ...zone(`${own}/src`, ["cli", "kit", ...siblings], "a service imports shared alone"),
  ]),
  ...zone("kit/src", ["cli", ...siblings], "the kits import kit"),
  ...siblings.flatMap((own) =>
    zone(`${own}/src`, ["cli", ...others(siblings, own)], "what kits share is in kit"),
  ),
  ...zone("cli/src", ["start", "bench"], "the kits import kit"),
  ...zone("cli/src", ["chaos", "flood"], "of a kit the cli knows its command", [
    "./src/command.ts",
  ]),
];

export default tseslint.config(
  { ignores: ["node_modules/", ".cache/", ".run/", "**/*.mjs"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    plugins: { "import-x": importX },
    languageOptions: { parserOptions: { project: "./tsconfig.json" } },
    settings: {
      "import-x/extensions": [".ts"],
      "import-x/parsers": { "@typescript-eslint/parser": [".ts"] },
      "import-x/resolver-next": [createNodeResolver({ extensions: [".ts", ".js", ".json"] })],
    },
    rules: {
      "@typescript-eslint/no-unused-vars": ["error", { ignoreUsingDeclarations: true }],
      ...restrict(zeromq, msgpackr, mongodb, pino, promClient),
      ...declared([root]),
      "import-x/no-cycle": ["error", { ignoreExternal: true }],
      "import-x/no-restricted-paths": ["error", { basePath: root, zones }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": [
        "error",
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      // `Promise.withResolvers<void>()` is right.
      "@typescript-eslint/no-invalid-void-type": "off",
      "@typescript-eslint/consistent-type-imports": "error",
      "no-restricted-syntax": [
        "error",
        {
          selector: "MemberExpression[object.name='process'][property.name='exit']",
          message: "process.exit is called only in shared/src/lifecycle.ts",
        },
      ],
    },
  },
  ...packages.map((folder) => ({
    files: [`${folder}/**/*.ts`],
    rules: declared([root, join(root, folder)]),
  })),
  { files: ["shared/src/bus/**"], rules: restrict(msgpackr, mongodb, pino, promClient) },
  { files: ["shared/src/bus/codec.ts"], rules: restrict(zeromq, mongodb, pino, promClient) },
  { files: ["shared/src/store/**"], rules: restrict(zeromq, msgpackr, pino, promClient) },
  { files: ["shared/src/logger.ts"], rules: restrict(zeromq, msgpackr, mongodb, promClient) },
  { files: ["shared/src/health/metrics.ts"], rules: restrict(zeromq, msgpackr, mongodb, pino) },
  { files: ["shared/src/lifecycle.ts"], rules: { "no-restricted-syntax": "off" } },
  {
    files: ["**/test/**", "bench/**", "chaos/**", "flood/**", "kit/**", "start/src/**"],
    rules: restrict(),
  },
);
