/** The version that tells our own spam engine's verdicts from SpamAssassin's. */
export const engineVersion = "0.chaos";
