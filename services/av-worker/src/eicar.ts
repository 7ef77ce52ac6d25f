/**
 * The EICAR anti-malware test file (68 bytes of US-ASCII), which every engine detects and which
 * harms nobody. Put together from parts, so that no scanner finds it in our own files.
 */
export const eicar: Buffer = Buffer.from(
  ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!", "$H+H*"].join(""),
  "latin1",
);
