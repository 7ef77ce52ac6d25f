import { z } from "zod";

/**
 * A way out: next hop and source address. It holds no credentials; the relay looks them up by name.
 */
export const routeSchema = z.looseObject({
  /** `host:port|source`: the value of `next` while the mail waits for this way out. */
  key: z.string().max(128),
  host: z.string().min(1).max(255),
  port: z.number().int().min(1).max(65_535),
  protocol: z.enum(["smtp", "lmtp"]),
  /** The local address to send from; absent: the system chooses. */
  sourceAddress: z.string().max(64).optional(),
  /** The EHLO name; absent: the relay's own. */
  helo: z.string().max(255).optional(),
  /** `opportunistic`: STARTTLS if offered; `required`: with a valid certificate; `none`. */
  tls: z.enum(["none", "opportunistic", "required"]),
  /** Name of a credential in the relay's secrets folder. */
  credential: z.string().max(128).optional(),
});
export type Route = z.infer<typeof routeSchema>;
