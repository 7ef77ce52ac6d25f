import { setImmediate } from "node:timers/promises";

/** Long work in short steps: at each `yield` somebody else may have a turn. */
export type Steps<Result> = Generator<undefined, Result, undefined>;

/** So long nobody else has a turn, if no single step takes longer. */
const sliceMs = 5;

/** All steps now, one after the other. */
export function atOnce<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** The steps of {@link sliceMs} at a time, with a turn of the event loop between them. */
export async function inSlices<Result>(steps: Steps<Result>): Promise<Result> {
  const slice = createSlice();
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    if (slice.isOver()) await slice.next();
  }
}

/** For loops that wait for something else, too. */
export function createSlice() {
  let until = performance.now() + sliceMs;
  return {
    isOver: () => performance.now() >= until,
    next: async () => {
      await setImmediate();
      until = performance.now() + sliceMs;
    },
  };
}
