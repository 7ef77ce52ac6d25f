import { createServer, type AddressInfo, type Socket } from "node:net";
import { once } from "node:events";
import { afterEach, expect, it } from "vitest";
import { distinctMails } from "../src/sample-mails.ts";
import { deliverAll } from "../src/smtp-load.ts";

const closing: (() => void)[] = [];
afterEach(() => closing.splice(0).forEach((close) => close()));

/**
 * Serves this many sessions at once, each for this many mails, as amavisd does; keeps what it took.
 */
async function fewAtOnce(options: { sessions: number; mailsEach: number }) {
  const taken: string[] = [];
  const waiting: Socket[] = [];
  let served = 0;
  const next = () => {
    const socket = waiting.shift();
    if (socket === undefined || served >= options.sessions) return;
    served += 1;
    serve(socket, options.mailsEach, taken);
    socket.once("close", () => {
      served -= 1;
      next();
    });
  };
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
    waiting.push(socket);
    if (served < options.sessions) next();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, taken };
}

function serve(socket: Socket, mailsEach: number, taken: string[]): void {
  let input = "";
  let mails = 0;
  let inData = false;
  socket.write("220 few\r\n");
  socket.setEncoding("latin1").on("data", (text: string) => {
    input += text;
    for (;;) {
      const end = inData ? input.indexOf("\r\n.\r\n") : input.indexOf("\r\n");
      if (end < 0) return;
      const part = input.slice(0, end);
      input = input.slice(end + (inData ? 5 : 2));
      if (inData) taken.push(part);
      if (part === "QUIT") return void socket.end("221 bye\r\n");
      if (part.startsWith("MAIL") && mails === mailsEach) return void socket.end("421 enough\r\n");
      if (part.startsWith("MAIL")) mails += 1;
      socket.write(part === "DATA" ? "354 go\r\n" : "250 ok\r\n");
      inData = part === "DATA";
    }
  });
}

it("delivers every mail once even if sessions have to wait or are ended", async () => {
  const server = await fewAtOnce({ sessions: 2, mailsEach: 7 });
  const mails = distinctMails(50, 500);
  const end = await deliverAll(server.address, mails, 8);
  const sent = mails.map((mail) => mail.toString("latin1").slice(0, -"\r\n.\r\n".length));
  expect(server.taken.toSorted()).toEqual(sent.toSorted());
  expect(new Set(sent).size).toBe(50);
  expect(end.reopened).toBeGreaterThan(0);
});
