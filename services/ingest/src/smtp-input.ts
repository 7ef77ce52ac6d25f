import { PassThrough } from "node:stream";
import type { SMTPServerDataStream } from "smtp-server";
import { SMTPStream } from "smtp-server/lib/smtp-stream.js";
import { DataDecoder } from "./data-decoder.ts";

const cr = 0x0d;
const lf = 0x0a;
const nothing = Buffer.alloc(0);

/** This many pipelined commands run before others have their turn of the event loop. */
const commandsPerTurn = 100;

type Next = (error?: Error | null) => void;

/**
 * What comes in by one session: command lines, and after DATA a mail. It takes the place of
 * smtp-server's parser, which takes the dot after a lone LF, and spends a turn of the event loop on
 * each line that begins with one; nothing of that one's reading is used.
 *
 * 1. A command runs once the one before it has been answered, and the bytes after a mail once the
 *    mail has: what is pipelined (RFC 2920) waits, and nothing of it is lost.
 * 2. After `isClosed` nothing runs any more.
 * 3. A line without its end is not a command (RFC 5321 §2.3.8), not even the last one.
 */
export class SmtpInput extends SMTPStream {
  /** Bytes that have come and are not used up. */
  #input: Buffer = nothing;
  /** Asks for the next chunk; there is one while `#input` is worked on. */
  #next: Next | undefined;
  #running = false;
  /** Waits for a command's callback, for `continue`, or for the mail's reader. */
  #waiting = false;
  #decoder = new DataDecoder();
  #mail: SMTPServerDataStream | undefined;
  #maxBytes = Infinity;
  /** `continue` came before the mail's end: its reader gave up. */
  #answeredEarly = false;

  override startDataMode(maxBytes?: number | string | null): SMTPServerDataStream {
    this._dataMode = true;
    this.dataBytes = 0;
    this.#maxBytes = Number(maxBytes) || Infinity;
    this.#decoder = new DataDecoder();
    this.#answeredEarly = false;
    this.#mail = Object.assign(new PassThrough(), { byteLength: 0, sizeExceeded: false });
    return this.#mail;
  }

  /** The mail has its reply: goes on with what follows it. */
  override continue(): void {
    if (this._dataMode) this.#answeredEarly = true;
    else this.#goOn();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding | "buffer", next: Next): void {
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
    this.#next = next;
    this.#run();
  }

  override _flushData(): void {
    // The last line has no end: it is not a command.
  }

  #goOn(): void {
    this.#waiting = false;
    this.#run();
  }

  #run(): void {
    // A handler that answered immediately is in the loop below already.
    if (this.#running) return;
    this.#running = true;
    try {
      for (let count = 0; this.#next !== undefined && !this.#waiting; count += 1) {
        if (count === commandsPerTurn) {
          this.#waiting = true;
          setImmediate(() => this.#goOn());
        } else this.#step(this.#next);
      }
    } finally {
      this.#running = false;
    }
  }

  #step(next: Next): void {
    if (this.isClosed) {
      this.#input = nothing;
      this.#askForMore(next);
    } else if (this._dataMode) this.#readMail(next);
    else this.#readCommand(next);
  }

  #askForMore(next: Next, error?: Error): void {
    this.#next = undefined;
    next(error);
  }

  #readCommand(next: Next): void {
    const end = this.#input.indexOf(lf);
    const length =
      end < 0 ? this.#input.length : end > 0 && this.#input[end - 1] === cr ? end - 1 : end;
    if (length > this._maxCommandLength) {
      this.#input = nothing;
      this.#askForMore(next, new Error("Command line too long"));
    } else if (end < 0) {
      this.#askForMore(next);
    } else {
      const command = this.#input.subarray(0, length);
      this.#input = this.#input.subarray(end + 1);
      this.#waiting = true;
      this.oncommand(
        command,
        once(() => this.#goOn()),
      );
    }
  }

  #readMail(next: Next): void {
    const mail = this.#mail;
    if (mail === undefined) throw new Error("DATA has no reader");
    const { content, end } = this.#decoder.push(this.#input);
    this.dataBytes += content.length;
    mail.byteLength = this.dataBytes;
    mail.sizeExceeded = this.dataBytes > this.#maxBytes;
    // A reader that gave up has destroyed the stream; the rest of the mail is for nobody.
    const flowing = content.length === 0 || !mail.writable || mail.write(content);
    if (end === undefined) {
      this.#input = nothing;
      if (flowing) this.#askForMore(next);
      else this.#waitForReader(mail);
      return;
    }
    this.#input = this.#input.subarray(end);
    this._dataMode = false;
    this.#mail = undefined;
    this.#waiting = !this.#answeredEarly;
    mail.end();
  }

  /** With an empty input: the next step asks for more. */
  #waitForReader(mail: SMTPServerDataStream): void {
    this.#waiting = true;
    const goOn = () => {
      mail.off("drain", goOn).off("close", goOn);
      this.#goOn();
    };
    // A stream that its reader destroys never drains.
    mail.on("drain", goOn).on("close", goOn);
  }
}

/** Further calls do nothing. */
function once(call: () => void): () => void {
  let called = false;
  return () => {
    if (called) return;
    called = true;
    call();
  };
}
