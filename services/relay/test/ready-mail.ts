import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

export const rawMail = Buffer.from(
  "Received: from client.example by relay.example; Mon, 1 Jun 2026 10:00:00 +0000\r\n" +
    "From: A <a@sender.example>\r\nTo: b@rcpt.example\r\nSubject: words\r\n" +
    "Message-ID: <1@sender.example>\r\n\r\nOne line.\r\n.A line with a dot.\r\n..\r\n",
);

export function routeTo(port: number, route: Partial<Route> = {}): Route {
  const host = route.host ?? "127.0.0.1";
  return { key: `${host}:${port}|`, host, port, protocol: "smtp", tls: "none", ...route };
}

export interface ReadyMailOptions {
  from?: string;
  to?: string[];
  route: Route;
  relay?: Partial<Plan["relay"]>;
  plan?: Partial<Plan>;
  record?: Partial<MailRecord>;
}

/** A record as the relay finds mail, without its body. */
export function readyRecord(options: ReadyMailOptions): MailRecord {
  const { from = "a@sender.example", to = ["b@rcpt.example"], route } = options;
  const now = new Date();
  return newMail({
    state: "ready",
    next: route.key,
    dueAt: now,
    smtp: { mailFrom: from, rcptTo: to, client: { address: "", name: "", helo: "" } },
    receivedAt: now,
    history: [{ at: now, event: "ready" }],
    route,
    plan: {
      policyIds: ["default"],
      revision: 1,
      direction: "outgoing",
      order: "sequential",
      route,
      relay: { maxQueueMs: 3_600_000, retryMs: [100], onUnknown: "resend", ...options.relay },
      retentionMs: { sent: 60_000, bounced: 60_000 },
      ...options.plan,
    },
    ...options.record,
  });
}

/** Stores a mail that waits for the relay and returns its id. */
export async function readyMail(
  { bodies, mails }: Pick<Database, "bodies" | "mails">,
  options: ReadyMailOptions,
  raw = rawMail,
): Promise<string> {
  const record = readyRecord(options);
  const body = await bodies.put(raw);
  await mails.insert({ ...record, body, ...options.record });
  return record._id;
}

/** Returns the mail once it is in this state; for `vi.waitFor`. */
export async function mailIn(
  { mails }: Pick<Database, "mails">,
  id: string,
  state: MailRecord["state"],
): Promise<MailRecord> {
  const mail = await mails.get(id);
  if (mail?.state !== state) throw new Error(`mail is ${JSON.stringify(mail)}, not ${state}`);
  return mail;
}
