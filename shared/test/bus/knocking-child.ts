import { Push } from "zeromq";
import { createCurveKey } from "../../src/bus/curve-key.ts";

/**
 * A process that knocks at a mailbox with unlisted keys: a few sockets at once, each refusal
 * followed by another try, half of them with a key of their own. Arguments: endpoint, its public
 * key, number of tries. Ends after the last try.
 */
const [endpoint = "", curveServerKey = "", tries = "0"] = process.argv.slice(2);
const shared = createCurveKey();
let left = Number(tries);
let open = 0;

function knock(): void {
  if (left <= 0) return;
  left -= 1;
  open += 1;
  const { publicKey, secretKey } = left % 2 === 0 ? shared : createCurveKey();
  const push = new Push({
    linger: 0,
    curveServerKey,
    curvePublicKey: publicKey,
    curveSecretKey: secretKey,
  });
  push.events.on("handshake", () => process.exit(2)); // eslint-disable-line no-restricted-syntax -- nobody let it in
  push.events.on("handshake:error:auth", () => {
    push.close();
    open -= 1;
    knock();
    if (open === 0) process.disconnect();
  });
  push.connect(endpoint);
}

for (let at = 0; at < 32; at += 1) knock();
