import { vi } from "vitest";

/** A busy machine may need longer than vitest's one second for what a test waits for. */
const patience = { timeout: 10_000, interval: 50 };
const waitFor = vi.waitFor.bind(vi);

vi.waitFor = (callback, options) => waitFor(callback, options ?? patience);
