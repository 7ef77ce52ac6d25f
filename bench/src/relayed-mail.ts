import { join } from "node:path";
import { ServiceLog } from "@rs-agent/kit/processes/service-log.ts";

/** What the relay's log says about mails that left. */
export interface RelayedMail {
  count: number;
  /** Milliseconds from acceptance to the next hop's 250, in the order in which they left. */
  ages: number[];
  /** For each mail: by how many milliseconds the youngest mail that left before it was younger. */
  overtaken: number[];
}

const everyMs = 1_000;

/** Follows the relay's log from now on. */
export function followRelay(logsDir: string): { read(): RelayedMail; stop(): void } {
  const log = new ServiceLog(join(logsDir, "relay.log"));
  const seen: RelayedMail = { count: 0, ages: [], overtaken: [] };
  let youngest = 0;
  const read = () => {
    for (const { msg, status, time, delay } of log.read()) {
      if (msg !== "recipient outcome" || status !== "sent") continue;
      const ageMs = Number(delay) * 1_000;
      const receivedAt = Number(time) - ageMs;
      seen.count += 1;
      seen.ages.push(ageMs);
      seen.overtaken.push(Math.max(0, youngest - receivedAt));
      youngest = Math.max(youngest, receivedAt);
    }
    return seen;
  };
  const timer = setInterval(read, everyMs);
  return { read, stop: () => clearInterval(timer) };
}
