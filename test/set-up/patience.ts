import { vi } from "vitest";

/** A busy machine, or one whose disk stands still, may need longer than vitest's one second. */
const patience = { timeout: 30_000, interval: 50 };
const waitFor = vi.waitFor.bind(vi);

vi.waitFor = (callback, options) => waitFor(callback, options ?? patience);
