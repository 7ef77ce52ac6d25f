/** RFC 5321 §4.4. Nothing in the address can end the line or the path. */
export function returnPath(mailFrom: string): Buffer {
  return Buffer.from(`Return-Path: <${mailFrom.replace(/[\x00-\x1f\x7f<>]/g, "")}>\r\n`);
}
