import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Context } from "zeromq";
import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { anyWorker, parseAllowList, type AllowList, type BusKind } from "./allow-list.ts";
import { keyError, readSecretFile, type CurveKey } from "./curve-key.ts";
import { RefusalLog } from "./refusal-log.ts";
import { openZapHandler, zapDomain, type Knocking } from "./zap.ts";

/** Between two looks at the allow list. */
const rereadMs = 1_000;

export interface BusKeysOptions {
  /** The file of our own secret key. */
  keyFile: string;
  allowFile: string;
  /** What we act as. */
  kind: BusKind;
  clock: Clock;
  log: Logger;
}

/** Options of a zeromq socket that make it speak CURVE. */
export type CurveOptions = Record<string, unknown> & { context: Context };

/**
 * An actor's key and the allow list, read again when its file changes. One for each actor: its
 * sockets share a context, and the context has one ZAP handler.
 *
 * Guards:
 * 1. Our mailbox lets in only the holder of the secret half of a key that is listed for a kind which
 *    has something to say to us.
 * 2. We connect only to the holder of the secret half of the key that we name.
 * 3. What is revoked ends: the owners of sessions hear of every change (`onChange`).
 */
export class BusKeys {
  readonly own: CurveKey;
  readonly kind: BusKind;
  readonly refusals: RefusalLog;
  readonly #options: BusKeysOptions;
  readonly #context = new Context();
  readonly #zap: { close(): void };
  readonly #timer: NodeJS.Timeout;
  readonly #listeners: (() => void)[] = [];
  /** Who may connect to our mailbox. */
  readonly #guests: BusKind;
  #text: string;
  #list: AllowList;
  #reading = false;
  #closed = false;
  #complaint = "";

  /** @throws TerminalError CFG_BUS_KEYS */
  constructor(options: BusKeysOptions) {
    this.#options = options;
    this.kind = options.kind;
    this.own = readSecretFile(options.keyFile);
    this.#text = readList(options.allowFile);
    this.#list = parseAllowList(this.#text, options.allowFile);
    this.refusals = new RefusalLog(options.clock, options.log);
    this.#guests = guestsOf(options.kind);
    this.#zap = openZapHandler(this.#context, (peer) => this.#admits(peer));
    this.#timer = setInterval(() => void this.#reread(), rereadMs);
    this.#lookForOwnKey();
  }

  get list(): AllowList {
    return this.#list;
  }

  /** For a socket that is bound. */
  get serverOptions(): CurveOptions {
    return {
      context: this.#context,
      curveServer: true,
      curveSecretKey: this.own.secretKey,
      zapDomain,
      // Without it libzmq lets everybody in who speaks CURVE when no handler answers.
      zapEnforceDomain: true,
    };
  }

  /** For a socket that connects to the holder of `serverKey`, and to nobody else. */
  clientOptions(serverKey: string): CurveOptions {
    return {
      context: this.#context,
      curveServerKey: serverKey,
      curvePublicKey: this.own.publicKey,
      curveSecretKey: this.own.secretKey,
    };
  }

  /** Called after each change of the list, for as long as these keys are open. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** After the sockets are closed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#zap.close();
  }

  #admits({ publicKey, address }: Knocking): boolean {
    const why = this.#list.refuses(publicKey, this.#guests);
    if (why === undefined) return true;
    const name = publicKey === undefined ? undefined : this.#list.nameOf(publicKey);
    this.refusals.tell(
      `${String(publicKey)} ${why}`,
      { publicKey, name, address },
      `peer refused: ${why}`,
    );
    return false;
  }

  /** A list that cannot be used, or is away for a while, changes nothing. */
  async #reread(): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    const { allowFile } = this.#options;
    try {
      const text = await readFile(allowFile, "utf8");
      if (text !== this.#text && !this.#isClosed()) this.#take(text);
      this.#complaint = "";
    } catch (error) {
      this.#complain(messageOf(error));
    } finally {
      this.#reading = false;
    }
  }

  #take(text: string): void {
    const list = parseAllowList(text, this.#options.allowFile);
    this.#text = text;
    this.#list = list;
    const { allowFile: file, log } = this.#options;
    log.info({ file, keys: list.keys.length }, "allow list is read again");
    this.#lookForOwnKey();
    for (const listener of this.#listeners) listener();
  }

  /** Once for each complaint. */
  #complain(reason: string): void {
    if (reason === this.#complaint || this.#isClosed()) return;
    this.#complaint = reason;
    const { allowFile: file, log } = this.#options;
    log.error({ file, reason }, "allow list cannot be read again: the previous one stays in force");
  }

  #lookForOwnKey(): void {
    const why = this.#list.refuses(this.own.publicKey, this.kind);
    if (why === undefined) return;
    const { publicKey } = this.own;
    const { keyFile, allowFile, log } = this.#options;
    log.error({ publicKey, keyFile, allowFile, kind: this.kind }, `others will refuse us: ${why}`);
  }

  #isClosed(): boolean {
    return this.#closed;
  }
}

function guestsOf(kind: BusKind): BusKind {
  return kind === "dispatcher" ? anyWorker : "dispatcher";
}

function readList(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw keyError(path, messageOf(error), error);
  }
}
