import tseslint from "typescript-eslint";

/** Who may import what: CONTRIBUTING, "Who may import whom". */
const only = (name, where) => ({ name, message: `${name} is imported only in ${where}` });
const zeromq = only("zeromq", "shared/src/bus");
const msgpackr = only("msgpackr", "shared/src/bus/codec.ts");
const mongodb = only("mongodb", "shared/src/store");
const pino = only("pino", "shared/src/logger.ts");
const promClient = only("prom-client", "shared/src/health/metrics.ts");
const restrict = (...paths) => ({ "no-restricted-imports": ["error", { paths }] });

export default tseslint.config(
  { ignores: ["node_modules/", ".cache/", ".run/", "**/*.mjs"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: "./tsconfig.json" } },
    rules: {
      ...restrict(zeromq, msgpackr, mongodb, pino, promClient),
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
