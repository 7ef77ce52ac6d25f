import type { Command } from "commander";
import nodemailer from "nodemailer";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { messageOf, RetryableError, TerminalError } from "@rs-agent/shared/errors.ts";
import { parseNextHop } from "@rs-agent/shared/policy/next-hop.ts";
import { peerConfigSchema } from "../peer-config.ts";
import type { CliDeps } from "../session.ts";
import { printable } from "../terminal.ts";

interface SubmitOptions {
  smtp?: string;
  from: string;
  to: string[];
  json?: true;
}

interface Submitted {
  file: string;
  /** The id that a listener of ours names; undefined if another server took the mail. */
  id?: string;
  accepted: string[];
  rejected: { address: string; reply: string }[];
  /** The server's reply to the mail, or what went wrong. */
  reply: string;
}

export function addSubmit(program: Command, deps: CliDeps): void {
  program
    .command("submit")
    .argument("<file...>", "raw mails; - is standard input")
    .option("--smtp <host:port>", "the listener (default: $INGEST_SMTP or 127.0.0.1:2525)")
    .requiredOption("--from <address>", 'SMTP sender; "" is the null sender')
    .requiredOption("--to <address...>", "recipients")
    .option("--json", "print JSON")
    .action((files: string[], options: SubmitOptions) => submit(deps, files, options));
}

async function submit(deps: CliDeps, files: string[], options: SubmitOptions): Promise<void> {
  const smtp = options.smtp ?? loadConfig(peerConfigSchema, deps.env).INGEST_SMTP;
  const server = parseNextHop(smtp);
  if (server === undefined) throw new TerminalError("CFG_INVALID", `--smtp ${smtp}: not host:port`);
  const to = options.to.flatMap((one) => one.split(",")).map((one) => one.trim());
  // Without TLS to a listener of our own: its certificate is often made for another name.
  const transport = nodemailer.createTransport({
    ...server,
    pool: true,
    maxConnections: 1,
    maxRequeues: 0,
    ignoreTLS: true,
  });
  const done: Submitted[] = [];
  try {
    for (const file of files) {
      const raw = await deps.readInput(file);
      const one = await sendOne(transport, file, raw, { from: options.from, to });
      done.push(one);
      if (options.json !== true) deps.output.tell(lines(one));
    }
  } finally {
    transport.close();
  }
  if (options.json === true) deps.output.json(done);
  if (done.some(({ rejected }) => rejected.length > 0)) deps.setExitCode(1);
}

type Transport = ReturnType<typeof nodemailer.createTransport>;

async function sendOne(
  transport: Transport,
  file: string,
  raw: Buffer,
  envelope: { from: string; to: string[] },
): Promise<Submitted> {
  try {
    const use8BitMime = raw.some((byte) => byte > 127);
    const info: unknown = await transport.sendMail({ raw, envelope: { ...envelope, use8BitMime } });
    const { accepted, rejectedErrors, response } = info as {
      accepted: string[];
      rejectedErrors?: SmtpError[];
      response: string;
    };
    const id = /\bqueued as (\S+)/.exec(response)?.[1];
    const rejected = rejectedOf(rejectedErrors);
    return { file, ...(id !== undefined && { id }), accepted, rejected, reply: response };
  } catch (error) {
    const { rejectedErrors, response } = error as SmtpError;
    if (response === undefined) {
      const text = `${file} was not handed in: ${messageOf(error)}`;
      throw new RetryableError("CLI_SUBMIT_REFUSED", text, { cause: error });
    }
    const rejected = rejectedErrors ?? envelope.to.map((recipient) => ({ recipient, response }));
    return { file, accepted: [], rejected: rejectedOf(rejected), reply: response };
  }
}

/** What nodemailer says about a refusal; without a reply from the server, `response` is absent. */
interface SmtpError {
  recipient?: string;
  response?: string;
  rejectedErrors?: SmtpError[];
}

function rejectedOf(errors: readonly SmtpError[] = []): Submitted["rejected"] {
  return errors.map(({ recipient = "", response = "" }) => ({
    address: recipient,
    reply: response,
  }));
}

function lines({ file, accepted, rejected, reply }: Submitted): string {
  const taken = accepted.length > 0 ? [`${file}: ${accepted.join(", ")}: ${reply}`] : [];
  const not = rejected.map(({ address, reply: why }) => `${file}: ${address}: refused: ${why}`);
  return [...taken, ...not].map(printable).join("\n");
}
