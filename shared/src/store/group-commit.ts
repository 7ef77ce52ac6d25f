/** What became of one item of a commit. */
export type Settled<R> = { value: R } | { error: unknown };

export interface GroupCommitOptions<I, R> {
  /** Writes all items at once; one outcome each, in their order. A rejection is every item's. */
  commit: (items: I[]) => Promise<Settled<R>[]>;
  /** How long the first of a group waits for others, unless none came recently. */
  lingerMs: number;
  maxItems: number;
  /** Together with `bytesOf`: a group is closed at this size. */
  maxBytes?: number;
  bytesOf?: (item: I) => number;
  /** Items of one key are never under way together, and keep their order. */
  keyOf?: (item: I) => string;
  /** Groups under way at once. */
  concurrency: number;
}

export interface GroupCommit<I, R> {
  /** Settles when the group that the item went with is committed. */
  add(item: I): Promise<R>;
}

interface Waiting<I, R> {
  item: I;
  bytes: number;
  key: string | undefined;
  resolve: (value: R) => void;
  reject: (error: unknown) => void;
}

/** If nothing was given for this long, none is to be expected soon. */
const quietMs = 25;

/**
 * Puts single writes that come at about the same time into one bulk write: the round trip and the
 * sync of the log are then paid once. Used for bodies, new mails and guarded writes alike. The queue
 * holds no more than callers await, and those are bounded by leases and connections (I7).
 */
export function createGroupCommit<I, R>(options: GroupCommitOptions<I, R>): GroupCommit<I, R> {
  const { commit, lingerMs, maxItems, maxBytes = Infinity, concurrency } = options;
  let waiting: Waiting<I, R>[] = [];
  let waitingBytes = 0;
  const keysUnderWay = new Set<string>();
  let underWay = 0;
  let linger: NodeJS.Timeout | undefined;
  let lastMs = -Infinity;

  /** Commits what waits, as far as there is room for groups under way. */
  function flush(): void {
    clearTimeout(linger);
    linger = undefined;
    while (waiting.length > 0 && commitGroup());
  }

  function commitGroup(): boolean {
    if (underWay >= concurrency) return false;
    const group = takeGroup();
    if (group.length === 0) return false;
    void run(group);
    return true;
  }

  /** The next items in their order, except those whose key is under way. */
  function takeGroup(): Waiting<I, R>[] {
    const group: Waiting<I, R>[] = [];
    const rest: Waiting<I, R>[] = [];
    const blocked = new Set<string>();
    let bytes = 0;
    for (const entry of waiting) {
      const full = group.length >= maxItems || (group.length > 0 && bytes + entry.bytes > maxBytes);
      const { key } = entry;
      if (full || (key !== undefined && (keysUnderWay.has(key) || blocked.has(key)))) {
        if (key !== undefined) blocked.add(key);
        rest.push(entry);
        continue;
      }
      if (key !== undefined) keysUnderWay.add(key);
      bytes += entry.bytes;
      group.push(entry);
    }
    waiting = rest;
    waitingBytes -= bytes;
    return group;
  }

  async function run(group: Waiting<I, R>[]): Promise<void> {
    underWay += 1;
    try {
      const settled = await commit(group.map(({ item }) => item));
      group.forEach((entry, index) => {
        const outcome = settled[index] ?? { error: new Error("a commit left an item out") };
        if ("error" in outcome) entry.reject(outcome.error);
        else entry.resolve(outcome.value);
      });
    } catch (error) {
      for (const entry of group) entry.reject(error);
    } finally {
      underWay -= 1;
      for (const { key } of group) if (key !== undefined) keysUnderWay.delete(key);
      if (waiting.length > 0) flush();
    }
  }

  return {
    add: (item) =>
      new Promise<R>((resolve, reject) => {
        const nowMs = performance.now();
        const isQuiet = nowMs - lastMs >= quietMs;
        lastMs = nowMs;
        const bytes = options.bytesOf?.(item) ?? 0;
        waiting.push({ item, bytes, key: options.keyOf?.(item), resolve, reject });
        waitingBytes += bytes;
        if (waiting.length >= maxItems || waitingBytes >= maxBytes) commitGroup();
        if (waiting.length === 0) return;
        if (isQuiet) setImmediate(flush);
        else linger ??= setTimeout(flush, lingerMs);
      }),
  };
}
