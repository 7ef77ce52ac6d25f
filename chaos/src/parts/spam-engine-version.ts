/** By this version verdicts of our own spam engine are told from SpamAssassin's. */
export const engineVersion = "0.chaos";
