/**
 * The bytes that mails on their way in may occupy together (I7). Buffers count with what they
 * hold allocated, from their first byte until the database has them or they were refused.
 */
export interface MemoryBudget {
  /** Takes bytes, or takes nothing and says false. */
  take(bytes: number): boolean;
  giveBack(bytes: number): void;
  /** Whether a mail of this size would find room now. */
  hasRoomFor(bytes: number): boolean;
  readonly used: number;
}

export function createMemoryBudget(limit: number): MemoryBudget {
  let used = 0;
  const hasRoomFor = (bytes: number) => used + bytes <= limit;
  return {
    hasRoomFor,
    take: (bytes) => {
      if (!hasRoomFor(bytes)) return false;
      used += bytes;
      return true;
    },
    giveBack: (bytes) => {
      used -= bytes;
    },
    get used() {
      return used;
    },
  };
}
