import { parseArgs } from "node:util";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";

export interface StartOptions {
  /** Stop after the table. */
  exit: boolean;
  /** The result as one JSON document on standard output. */
  json: boolean;
  /** Go on with the data of the last start, and send no sample mails. */
  keep: boolean;
  help: boolean;
}

export const usage = `Usage: npm start -- [options]

Starts the whole system on this host, sends the sample mails through it and shows what
became of them. It goes on running until Ctrl-C drains it.

  --exit   stop after the table; exit code 0 only if every mail met its expected fate
  --json   print the result as one JSON document on standard output; npm writes two lines of its own
           there before it, unless it is told not to: npm start --silent -- --json
  --keep   go on with the data of the last start; no sample mails are sent
  --help   this text

Environment: MONGODB_URI, AV_CLAMD, SPAM_SPAMD and RELAY_NEXT_HOP name your own servers,
used instead of private ones. With SPAM_ENGINE=rspamd, rspamd checks for spam instead of
spamd: a private one, or that of SPAM_RSPAMD. RS_AGENT_RUN_DIR is the folder for data and
logs (.run). RS_AGENT_SMTP is where SMTP listens (127.0.0.1:2525, or a free port if that
is taken).
`;

/** @throws TerminalError CFG_INVALID for an unknown option */
export function parseStartOptions(args: readonly string[]): StartOptions {
  const options = {
    exit: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  } as const;
  try {
    return parseArgs({ args: [...args], options, allowPositionals: false }).values;
  } catch (error) {
    throw new TerminalError("CFG_INVALID", `${messageOf(error)}\n\n${usage}`, { cause: error });
  }
}
