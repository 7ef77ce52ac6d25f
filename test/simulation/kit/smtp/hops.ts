import { hopAddresses } from "../policies.ts";
import type { Random } from "../random.ts";
import type { World } from "../world.ts";
import { startNextHop } from "./next-hop.ts";

/** Starts the next hops of a world; nemesis and invariants see what they are asked and do. */
export function startHops(world: World): void {
  const { invariants, nemesis, time } = world;
  const { deliveries } = invariants;
  const random = world.random.fork("hops");
  const mayPipeline = random.chance(0.5);
  const refuses = createRefusals();
  const room = roomOf(world.random.fork("room of hops"));
  for (const address of Object.values(hopAddresses)) {
    startNextHop(world.tcp, address, {
      time,
      random,
      greeting: `250-hop.example\r\n${mayPipeline ? "250-PIPELINING\r\n" : ""}250 8BITMIME`,
      whim: (point) => nemesis.whim(point),
      strike: (relay, point) => nemesis.strikeAtHop(relay, point),
      refuses,
      room,
      onBodyBegins: (sending) => {
        const { relay, messageId, recipients } = sending;
        world.note(`${relay.name} sends the body for ${recipients.join(" ")}`, messageId);
        deliveries.onBodyBegins(sending);
      },
      onLeft: (sending) => deliveries.onLeft(sending, false),
      onOver: (sending) => deliveries.onLeft(sending, true),
      onAccepted: (received) => {
        const { messageId, recipients } = received;
        world.note(`the hop has it for ${recipients.join(" ")}`, messageId);
        deliveries.onTaken(received);
      },
      onRefused: (messageId, recipient) => deliveries.onRefused(messageId, recipient),
      note: (relay, text) => world.note(`hop and ${relay.name}: ${text}`),
    });
  }
}

/**
 * In many worlds a hop takes one to three recipients at once: the others must be offered again (RFC
 * 5321 §4.5.3.1.10).
 */
function roomOf(random: Random): { recipients: number; refusal: string } {
  const refusal = random.pick(["452 4.5.3 too many recipients", "552 5.5.3 too many recipients"]);
  return { recipients: random.chance(0.5) ? random.int(1, 3) : 100, refusal };
}

/** By the recipient's name: never, only when asked for the third time, or always. */
function createRefusals(): (recipient: string) => string | undefined {
  const asked = new Map<string, number>();
  return (recipient) => {
    if (recipient.startsWith("refused@")) return "550 5.1.1 nobody here";
    if (!recipient.startsWith("later@")) return undefined;
    const times = (asked.get(recipient) ?? 0) + 1;
    asked.set(recipient, times);
    return times % 3 === 0 ? undefined : "450 4.2.1 later";
  };
}
