import fc from "fast-check";

/**
 * Properties run with the same seed each time, so that a failed run can be repeated; FC_SEED names
 * another seed, `random` a new one each time.
 */
const given = process.env.FC_SEED ?? "20261123";
if (given !== "random") fc.configureGlobal({ seed: Number(given) });
