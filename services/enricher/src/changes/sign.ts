import { RsError } from "@rs-agent/shared/errors.ts";
import { isFieldName } from "@rs-agent/shared/mail/header-fields.ts";
import { normalDomain } from "@rs-agent/shared/mail/mail-domain.ts";
import { loadSigningKey } from "../dkim/key.ts";
import { signMail, verifyTopSignature, type SignatureRequest } from "../dkim/signer.ts";
import { leavingFrom } from "./leaving-from.ts";
import { neverAble, unable, type ApplyChange, type MailUnderChange } from "./change.ts";

/**
 * mailauth takes time to join header lines that grows with the square of their number, and it
 * checks every signature that it finds; no honest mail comes near these limits.
 */
const maxHeaderLines = 10_000;
const maxHeaderBytes = 1024 * 1024;
const maxForeignSignatures = 20;

/**
 * Signs with the domain's key and verifies the signature over the final bytes (I10). The domain is
 * that of the From that leaves, as the plan foresaw it. A mail that cannot be signed is held: it
 * never leaves unsigned.
 */
export const sign: ApplyChange<"sign"> = async (
  mail,
  { domain, selector, privateKey },
  context,
) => {
  const why = whyUnsignable(mail, domain);
  if (why !== undefined) return neverAble(`the mail cannot be signed: ${why}`);
  try {
    const key = await loadSigningKey(privateKey);
    const request = { domain, selector, key, now: context.now(), signal: context.signal };
    await signAndVerify(mail, request);
  } catch (error) {
    if (error instanceof RsError) return unable(`${error.code}: ${error.message}`);
    throw error;
  }
  if (mail.header.fields.some(({ name }) => !isFieldName(name))) {
    mail.notes.push("a line of the header is not a field: some verifiers may refuse the signature");
  }
  mail.signature = { domain, selector };
  return undefined;
};

async function signAndVerify(mail: MailUnderChange, request: SignatureRequest): Promise<void> {
  const signature = await signMail([mail.header.build(), mail.rest], request);
  mail.header.prepend(signature);
  await verifyTopSignature([mail.header.build(), mail.rest], request);
}

function whyUnsignable({ header }: MailUnderChange, domain: string): string | undefined {
  // RFC 6376 §5.4: From must be signed.
  const from = leavingFrom(header);
  if ("why" in from) return from.why;
  if (from.domain !== normalDomain(domain)) {
    return `its From leaves with the domain ${from.domain}, but the policy's key is for ${domain}`;
  }
  const block = header.build();
  if (block.length > maxHeaderBytes) return `its header has ${block.length} bytes`;
  if (linesIn(block) > maxHeaderLines) return `its header has more than ${maxHeaderLines} lines`;
  const foreign = header.named("dkim-signature").length;
  return foreign > maxForeignSignatures ? `it has ${foreign} signatures already` : undefined;
}

function linesIn(block: Buffer): number {
  let lines = 0;
  for (let at = block.indexOf("\n"); at >= 0; at = block.indexOf("\n", at + 1)) lines += 1;
  return lines;
}
