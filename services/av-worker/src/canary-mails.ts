import { eicar } from "./eicar.ts";
import { sealedPdf } from "./pdf.ts";
import { zip } from "./zip.ts";

/** The canaries: what an able clamd must tell apart, each as a mail with one attachment. */
export const canaryKinds = ["clean", "eicar", "encrypted", "encrypted-pdf", "limit"] as const;
export type CanaryKind = (typeof canaryKinds)[number];

/** One more than clamd's largest MaxRecursion (100); the mail around them is another level. */
const nestedZips = 101;

const attachments: Record<CanaryKind, { name: string; content: Buffer }> = {
  clean: { name: "canary.txt", content: Buffer.from("All is well in this mine.\r\n") },
  eicar: { name: "canary.com", content: eicar },
  encrypted: { name: "canary.zip", content: sealedZip() },
  "encrypted-pdf": { name: "canary.pdf", content: sealedPdf() },
  limit: { name: "canary.zip", content: deepZip() },
};

/**
 * A canary as raw mail. `nonce` makes its bytes new, because clamd remembers by hash what it found
 * clean and would not look again.
 */
export function canaryMail(kind: CanaryKind, nonce: string): Buffer {
  const { name, content } = attachments[kind];
  const encoded = content.toString("base64").replace(/.{76}/g, "$&\r\n");
  const lines = [
    "From: canary@rs-agent.invalid",
    "To: clamd@rs-agent.invalid",
    "Subject: canary",
    `Message-ID: <${nonce}.${kind}@rs-agent.invalid>`,
    "MIME-Version: 1.0",
    'Content-Type: multipart/mixed; boundary="canary"',
    "",
    "--canary",
    "Content-Type: text/plain; charset=us-ascii",
    "",
    `A test of the virus scanner (${nonce}).`,
    "--canary",
    `Content-Type: application/octet-stream; name="${name}"`,
    "Content-Transfer-Encoding: base64",
    `Content-Disposition: attachment; filename="${name}"`,
    "",
    encoded,
    "--canary--",
    "",
  ];
  return Buffer.from(lines.join("\r\n"), "latin1");
}

function sealedZip(): Buffer {
  // 12 bytes of encryption header, then content that no password decrypts.
  const content = Buffer.from("The canary is silent.");
  const sealed = Buffer.from("0123456789abThe canary is silent.");
  return zip([{ name: "secret.txt", content, sealed }]);
}

function deepZip(): Buffer {
  let nested = zip([{ name: "canary.txt", content: Buffer.from("Too deep for a canary.\r\n") }]);
  for (let depth = 1; depth < nestedZips; depth++)
    nested = zip([{ name: "nested.zip", content: nested }]);
  return nested;
}
