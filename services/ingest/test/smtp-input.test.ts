import { once } from "node:events";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SmtpInput } from "../src/smtp-input.ts";

/** Records commands, and reads a mail after each DATA; answers in the same turn or a later one. */
class Session {
  readonly input = new SmtpInput({ maxCommandLength: 2_048 });
  readonly seen: string[] = [];
  readonly #answersAtOnce: boolean;

  constructor(answersAtOnce: boolean) {
    this.#answersAtOnce = answersAtOnce;
    this.input.oncommand = (command, callback) => {
      const line = command.toString("latin1");
      this.seen.push(line);
      if (line === "DATA") void this.#receive(this.input.startDataMode());
      if (line === "QUIT") this.input.isClosed = true;
      this.#answer(callback ?? (() => undefined));
    };
  }

  async #receive(mail: Readable): Promise<void> {
    this.seen.push(`mail ${JSON.stringify((await buffer(mail)).toString("latin1"))}`);
    this.#answer(() => this.input.continue());
  }

  #answer(callback: () => void): void {
    if (this.#answersAtOnce) callback();
    else setImmediate(callback);
  }

  async take(wire: string, cuts: readonly number[] = []): Promise<string[]> {
    const borders = [...cuts.map((cut) => cut % (wire.length + 1)), wire.length];
    let from = 0;
    for (const to of borders.sort((a, b) => a - b)) {
      this.input.write(Buffer.from(wire.slice(from, to), "latin1"));
      from = to;
    }
    this.input.end();
    await once(this.input, "finish");
    return this.seen;
  }
}

const transaction = (text: string) => `MAIL\r\nRCPT\r\nDATA\r\n${text}.\r\n`;

describe("SmtpInput", () => {
  it.each([true, false])(
    "runs what is pipelined after each mail once the mail has its answer (at once: %s)",
    async (answersAtOnce) => {
      const mails = ["a\r\n", "", "..\r\n", "b\n..c\r\n", "NOOP\r\n"];
      const expected = ["a\r\n", "", ".\r\n", "b\n..c\r\n", "NOOP\r\n"].flatMap((mail) => [
        ...["MAIL", "RCPT", "DATA"],
        `mail ${JSON.stringify(mail)}`,
      ]);
      const wire = `${mails.map(transaction).join("")}QUIT\r\n`;
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat(), { maxLength: 10 }), async (cuts) => {
          const seen = await new Session(answersAtOnce).take(wire, cuts);
          expect(seen).toEqual([...expected, "QUIT"]);
        }),
        { numRuns: 200 },
      );
    },
  );

  it("runs nothing once it is closed, and no line without an end", async () => {
    expect(await new Session(true).take("QUIT\r\nNOOP\r\n")).toEqual(["QUIT"]);
    expect(await new Session(true).take("NOOP\r\nRCPT")).toEqual(["NOOP"]);
  });

  it("ends at a line longer than any command, whole or not", async () => {
    for (const wire of [`${"x".repeat(2_049)}\r\n`, "x".repeat(3_000)]) {
      const { input, seen } = new Session(true);
      input.write(Buffer.from(wire));
      const [error] = (await once(input, "error")) as [Error];
      expect([error.message, seen]).toEqual(["Command line too long", []]);
    }
  });

  it("lets others have their turn between many commands", async () => {
    const session = new Session(true);
    let atTurn = 0;
    setImmediate(() => (atTurn = session.seen.length));
    expect(await session.take("NOOP\r\n".repeat(1_000))).toHaveLength(1_000);
    expect(atTurn).toBeLessThan(1_000);
  });

  it("goes on after a mail whose reader gave up", async () => {
    const input = new SmtpInput();
    const seen: string[] = [];
    input.oncommand = (command, callback) => {
      seen.push(command.toString());
      if (command.toString() === "DATA") {
        input.startDataMode().destroy();
        input.continue();
      }
      callback?.();
    };
    input.write(Buffer.from("DATA\r\nno mail\r\n"));
    input.end(Buffer.from("NOOP\r\n.\r\nRSET\r\n"));
    await once(input, "finish");
    expect(seen).toEqual(["DATA", "RSET"]);
  });

  it("waits for a reader that is slow", async () => {
    const input = new SmtpInput();
    let mail: Readable | undefined;
    input.oncommand = (_command, callback) => {
      mail = input.startDataMode();
      callback?.();
    };
    input.write(Buffer.from("DATA\r\n"));
    const line = `${"x".repeat(65_534)}\r\n`;
    let taken = 0;
    for (let count = 0; count < 20; count += 1) input.write(Buffer.from(line), () => (taken += 1));
    input.write(Buffer.from(".\r\n"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(taken).toBeLessThan(5);
    if (mail === undefined) throw new Error("no DATA");
    expect(mail.listenerCount("close")).toBeLessThan(5);
    expect((await buffer(mail)).length).toBe(20 * line.length);
    expect(taken).toBe(20);
  });

  it("passes on 4 MB of dots in as many pieces as they came in, like text", async () => {
    const pieces: number[] = [];
    for (const line of ["..\r\n", "ab\r\n"]) {
      const input = new SmtpInput();
      const ended = Promise.withResolvers<void>();
      let count = 0;
      input.oncommand = (_command, callback) => {
        input
          .startDataMode()
          .on("data", () => (count += 1))
          .once("end", () => ended.resolve());
        callback?.();
      };
      input.write(Buffer.from("DATA\r\n"));
      const chunk = Buffer.from(line.repeat(16_384));
      for (let sent = 0; sent < 64; sent += 1) input.write(chunk);
      input.write(Buffer.from(".\r\n"));
      await ended.promise;
      pieces.push(count);
    }
    expect(pieces).toEqual([64, 64]);
  });
});
