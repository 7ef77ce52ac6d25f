import { clamavCli } from "../called-as.ts";
import type { Readable, Writable } from "node:stream";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { ping, reload, stats, version } from "@rs-agent/av-worker/clamd/command.ts";
import { clamdPort, parseClamdAddress } from "@rs-agent/av-worker/clamd/address.ts";
import { createDeadline } from "@rs-agent/shared/deadline.ts";
import { engineAddresses, type EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { RsError, messageOf } from "@rs-agent/shared/errors.ts";
import { columnsOf, wrapAtWords } from "@rs-agent/shared/wrap-at-words.ts";
import { exitCodes } from "./outcome.ts";
import { scanAll } from "./scan.ts";

/** Where a command reads and writes; in a program, the process's own streams. */
export interface Streams {
  stdout: Writable;
  stderr: Writable & { isTTY?: boolean; columns?: number };
  stdin: Readable;
}

interface GlobalOptions {
  /** Undefined: the host of the usual clamd. */
  host?: string;
  port?: number;
  socket?: string;
  timeout?: number;
  json: boolean;
}

interface ScanOptions extends GlobalOptions {
  disk: boolean;
  infected: boolean;
  summary: boolean;
  maxSize: number;
  jobs: number;
}

const commandTimeoutSeconds = 10;
const scanTimeoutSeconds = 150;

/** Where a clamd listens if nobody names one. */
const plainAddress = "127.0.0.1:3310";

/**
 * `clamav-cli`: runs the command in `args` and returns its exit code. Writes to `streams` only.
 * `usual`: the clamd to ask if the options name none, as AV_CLAMD has it.
 */
export async function runClamavCli(
  args: readonly string[],
  streams: Streams,
  usual = plainAddress,
): Promise<number> {
  let exitCode: number = exitCodes.clean;
  const program = createProgram(streams, usualAddress(usual), (code) => (exitCode = code));
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has already said what was wrong; its own exit code would read as "found".
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? exitCodes.clean : exitCodes.error;
    }
    tellError(error, args.includes("--json"), streams);
    return exitCodes.error;
  }
}

/** The first address of AV_CLAMD, if it is one. */
function usualAddress(addresses: string): EngineAddress {
  const [first] = addresses.split(",", 1);
  const [address] = engineAddresses(clamdPort).safeParse(first).data ?? [];
  return address ?? parseClamdAddress(plainAddress);
}

function createProgram(
  streams: Streams,
  usual: EngineAddress,
  onExit: (code: number) => void,
): Command {
  const program = new Command("clamav-cli")
    .description("Asks a clamd: is it there, what does it know, is there a virus in these files.")
    .configureHelp({ helpWidth: 80 })
    .option("--host <host>", `name or address of clamd (default: ${usual.text})`)
    .addOption(new Option("--port <port>", "its TCP port").argParser(port))
    .option("--socket <path>", "unix socket of clamd, instead of --host and --port")
    .addOption(timeoutOption())
    .option("--json", "one JSON document on standard output", false)
    .exitOverride()
    .showHelpAfterError(`(${clamavCli} --help tells more)`)
    .configureOutput({
      writeOut: (text) => streams.stdout.write(text),
      writeErr: (text) => streams.stderr.write(text),
    })
    .addHelpText("after", epilogue);
  addQuestions(program, streams, usual);
  addScan(program, streams, usual, onExit);
  return program;
}

const epilogue = `
Exit codes:
  0  clean, or clamd answered
  1  found
  2  error: no answer, or one that is not understood
  3  not checked: encrypted, over a limit, or too large

Examples:
  ${clamavCli} --host 172.17.0.2 ping
  ${clamavCli} --host 172.17.0.2 scan /scan
  ${clamavCli} --socket /run/clamav/clamd.ctl scan --disk /var/tmp/mail.eml
  cat mail.eml | ${clamavCli} scan -`;

function addQuestions(program: Command, streams: Streams, usual: EngineAddress): void {
  const question = (
    name: string,
    description: string,
    ask: (address: EngineAddress, signal: AbortSignal) => Promise<Answer>,
  ) => {
    const command = program.command(name).description(description);
    command.action(async () => {
      const options = command.optsWithGlobals<GlobalOptions>();
      using deadline = createDeadline(1000 * (options.timeout ?? commandTimeoutSeconds));
      const { text, json } = await ask(addressOf(options, usual), deadline.signal);
      streams.stdout.write(`${options.json ? JSON.stringify(json) : text}\n`);
    });
  };
  question("ping", "is clamd there?", async (address, signal) => {
    await ping(address, signal);
    return { text: "PONG", json: { address: address.text, pong: true } };
  });
  question("version", "version of clamd and of its signatures", async (address, signal) => {
    const { text, engine } = await version(address, signal);
    return { text, json: { address: address.text, text, ...engine } };
  });
  question("stats", "clamd's threads, queue and memory", async (address, signal) => {
    const text = await stats(address, signal);
    return { text, json: { address: address.text, text } };
  });
  question("reload", "have clamd load its signatures again", async (address, signal) => {
    await reload(address, signal);
    return { text: "RELOADING", json: { address: address.text, reloading: true } };
  });
}

interface Answer {
  text: string;
  json: object;
}

function addScan(
  program: Command,
  streams: Streams,
  usual: EngineAddress,
  onExit: (code: number) => void,
): void {
  const command = program
    .command("scan")
    .description("scan files and folders; their bytes are sent to clamd")
    .argument("<path...>", "files and folders; - is standard input")
    .option("--disk", "send paths instead of bytes: clamd shares this disk", false)
    .option("-i, --infected", "do not list what is clean", false)
    .option("--no-summary", "no summary at the end")
    .addOption(
      new Option("--max-size <size>", "clamd's StreamMaxLength: larger files are not sent")
        .argParser(size)
        .default(100 * 1024 * 1024, "100M"),
    )
    .addOption(
      new Option("--jobs <n>", "files at the same time").argParser(wholeNumber(1, 64)).default(4),
    );
  command.action(async (paths: string[]) => {
    const options = command.optsWithGlobals<ScanOptions>();
    const code = await scanAll(
      paths,
      {
        address: addressOf(options, usual),
        timeoutMs: 1000 * (options.timeout ?? scanTimeoutSeconds),
        maxBytes: options.maxSize,
        jobs: options.jobs,
        disk: options.disk,
        output: options.json ? "json" : "text",
        onlyInfected: options.infected,
        summary: options.summary,
      },
      streams,
    );
    onExit(code);
  });
}

function timeoutOption(): Option {
  return new Option("--timeout <seconds>", "deadline of a command, or of each file").argParser(
    (text) => {
      const seconds = Number(text);
      if (seconds > 0 && seconds <= 86_400) return seconds;
      throw new InvalidArgumentError("It must be a number of seconds up to 86400.");
    },
  );
}

/**
 * The address in `--socket`, or in `--host` and `--port`; what is not given comes from the usual
 * clamd.
 */
function addressOf(
  { host, port: number, socket }: GlobalOptions,
  usual: EngineAddress,
): EngineAddress {
  if ([host, number, socket].every((one) => one === undefined)) return usual;
  const known = usual.kind === "tcp" ? usual : undefined;
  const name = host ?? known?.host ?? "127.0.0.1";
  const bare = name.includes(":") && !name.startsWith("[") ? `[${name}]` : name;
  const isKnown = known !== undefined && isSameHost(name, known.host);
  const usualPort = isKnown ? known.port : clamdPort;
  return parseClamdAddress(
    socket === undefined ? `${bare}:${number ?? usualPort}` : `unix:${socket}`,
  );
}

/** All names of this host for itself count as one. */
function isSameHost(one: string, other: string): boolean {
  const loopback = ["127.0.0.1", "localhost", "::1", "[::1]"];
  return one === other || (loopback.includes(one) && loopback.includes(other));
}

function port(text: string): number {
  return wholeNumber(1, 65_535)(text);
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (/^\d{1,9}$/.test(text) && number >= min && number <= max) return number;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}

/** Bytes, with K, M or G as in clamd.conf. */
function size(text: string): number {
  const match = /^(\d{1,9})([KMG]?)$/i.exec(text);
  if (match === null) throw new InvalidArgumentError("It must be bytes, as in 26214400 or 25M.");
  const factor =
    { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 }[(match[2] ?? "").toUpperCase()] ?? 1;
  return Number(match[1]) * factor;
}

function tellError(error: unknown, asJson: boolean, { stdout, stderr }: Streams): void {
  const code = error instanceof RsError ? error.code : undefined;
  const message = messageOf(error);
  if (asJson) stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  else {
    const text = `${code === undefined ? "error" : code}: ${message}`;
    stderr.write(`${wrapAtWords(text, columnsOf(stderr))}\n`);
  }
}
