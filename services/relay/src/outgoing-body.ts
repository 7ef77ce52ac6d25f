import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import type { Readable, Transform } from "node:stream";
import { Mode } from "@rs-agent/shared/mode.ts";
import { dataBlocks, type DataBlock } from "./data-blocks.ts";
import type { OutgoingMail } from "./outgoing-bytes.ts";

const blockBytes = 64 * 1024;

/** `begun`: the first byte is being given to the socket. `ended`: the last one is. */
const modes = { untouched: [], begun: ["untouched"], ended: ["begun"] } as const;

/**
 * The body on its way to the hop. It is the relay's witness for I8: `begun` is true from before the
 * socket is given the first byte, whatever the client or the socket say later.
 *
 * nodemailer takes it for a stream, of which it uses `on`, `removeListener`, `pipe` (once the hop has
 * said 354) and `destroy`. It would read and encode the mail byte by byte, so `pipe` takes nodemailer's encoder
 * away from the socket and writes the encoded mail there itself.
 */
export class OutgoingBody extends EventEmitter {
  readonly #mode = new Mode<keyof typeof modes>("the body", modes, "untouched");
  readonly #socket: Socket;
  readonly #blocks: Iterator<DataBlock, void>;
  readonly #mayBegin: () => boolean;
  readonly #onProgress: (ended: boolean) => void;
  readonly #goOn = () => this.#write();
  #stopped = false;

  /**
   * @param mayBegin asked right before the first byte; `false` ends it with an error and nothing
   *   sent (the lease is over)
   * @param onProgress called for each block given to the socket, with `true` for the last one
   */
  constructor(
    mail: OutgoingMail,
    socket: Socket,
    mayBegin: () => boolean,
    onProgress: (ended: boolean) => void,
  ) {
    super();
    this.#blocks = dataBlocks(mail.chunks, blockBytes);
    this.#socket = socket;
    this.#mayBegin = mayBegin;
    this.#onProgress = onProgress;
  }

  get begun(): boolean {
    return !this.#mode.is("untouched");
  }

  get ended(): boolean {
    return this.#mode.is("ended");
  }

  /** For `SMTPConnection.send`. */
  asMessage(): Readable {
    return this as unknown as Readable;
  }

  pipe(encoder: Transform): void {
    encoder.unpipe(this.#socket);
    if (this.#stopped) return;
    if (!this.#mayBegin()) {
      this.emit("error", new Error("the lease is over"));
      return;
    }
    this.#mode.enter("begun");
    this.#socket.on("drain", this.#goOn);
    this.#write();
  }

  /** Nothing more of it is given to the socket. */
  destroy(): void {
    this.#stopped = true;
    this.#socket.off("drain", this.#goOn);
  }

  #write(): void {
    let hasRoom = true;
    while (hasRoom && !this.#stopped) {
      const { value: block } = this.#blocks.next();
      if (block === undefined) return;
      if (block.isLast) this.#mode.enter("ended");
      hasRoom = this.#socket.write(block.bytes);
      this.#onProgress(this.ended);
    }
  }
}
