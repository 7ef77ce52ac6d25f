/** mailauth types `dkimSign` but not the class behind it, the only place where h= can be chosen. */
declare module "mailauth/lib/dkim/dkim-signer.js" {
  import type { Writable } from "node:stream";
  import type { DKIMSignOptions } from "mailauth";

  export interface ParsedHeaders {
    /** Top to bottom; `casedKey` is what h= will say. */
    parsed: { key: string; casedKey: string; line: Buffer }[];
  }
  export class DkimSigner extends Writable {
    constructor(options: { strict?: boolean; signTime?: Date; signatureData: DKIMSignOptions[] });
    readonly signatureHeaders: string[];
    readonly errors: { err: Error }[];
    messageHeaders(headers: ParsedHeaders): Promise<void>;
  }
}
