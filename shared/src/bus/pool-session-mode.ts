/**
 * Where a dispatcher's session with a worker stands. `opening`: the worker has not answered yet.
 * `leaving`: nothing more is placed, and we have said so. `parting`: the same because the worker
 * drains; that it goes away then, with whatever it could not finish, is not a death.
 */
export type PoolSessionMode = keyof typeof sessionModes;

export const sessionModes = {
  opening: [],
  open: ["opening"],
  leaving: ["opening", "open", "leaving"],
  parting: ["opening", "open", "leaving", "parting"],
  ended: ["opening", "open", "leaving", "parting"],
} as const;
