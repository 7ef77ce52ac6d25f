import fc from "fast-check";

/**
 * Properties run with the same seed each time, so that a red run can be run again; FC_SEED names
 * another one, `random` a new one each time.
 */
const given = process.env.FC_SEED ?? "20261123";
if (given !== "random") fc.configureGlobal({ seed: Number(given) });
