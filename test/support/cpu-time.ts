/**
 * Starts counting the CPU time of this process; the function returns the milliseconds since then.
 * The work of other processes does not count, so a bound on it holds on a busy machine too.
 */
export function countCpu(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  };
}
