import { Pull, Push } from "zeromq";

/**
 * The other end of the raw round trip: answers each message with one frame of `replyBytes`.
 * Arguments: the parent's PULL endpoint, and the reply's size. Writes its own endpoint to standard
 * output and ends when standard input does.
 */
const [parent = "", replyBytes = "150"] = process.argv.slice(2);
const pull = new Pull();
await pull.bind("tcp://127.0.0.1:*");
const push = new Push({ linger: 0, immediate: true });
push.connect(parent);
process.stdin.on("end", () => {
  pull.close();
  push.close();
});
process.stdin.resume();
process.stdout.write(`${String(pull.lastEndpoint)}\n`);

const reply = Buffer.alloc(Number(replyBytes), "r");
for await (const frames of pull) {
  if (frames.length > 0) await push.send(reply);
}
