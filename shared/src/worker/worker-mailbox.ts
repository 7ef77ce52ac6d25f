import { busKindOf } from "../bus/allow-list.ts";
import { maxHeadBytes } from "../bus/codec.ts";
import { growthBytes, Mailbox } from "../bus/mailbox.ts";
import { openBusProtection, type BusProtection } from "../bus/protection.ts";
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { SessionKind } from "../bus/wire.ts";
import type { BusSettings } from "./config.ts";

/**
 * Opens what a worker or a relay has of the bus: its keys, if any, and its mailbox.
 * @throws TerminalError CFG_INVALID, CFG_BUS_KEYS, CFG_BUS_UNPROTECTED, BUS_ADDRESS; RetryableError BUS_BIND
 */
export function openWorkerMailbox(
  config: BusSettings,
  deps: { task: SessionKind; maxMailBytes: number; clock: Clock; log: Logger },
): { protection: BusProtection; mailbox: Mailbox } {
  const { task, maxMailBytes, clock, log } = deps;
  const protection = openBusProtection(config, { kind: busKindOf(task), clock, log });
  try {
    const { BUS_ADVERTISE: advertise } = config;
    if (advertise !== undefined) protection.check(advertise, "advertise");
    const maxFrameBytes = Math.max(maxMailBytes + growthBytes, maxHeadBytes);
    const mailbox = Mailbox.open({ bind: config.BUS_BIND, maxFrameBytes, protection, clock, log });
    return { protection, mailbox };
  } catch (error) {
    protection.close();
    throw error;
  }
}
