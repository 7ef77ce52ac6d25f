/**
 * A PDF of one page that asks for a password (ISO 32000-1, 7.6): the standard security handler of
 * revision 3, which compares the password's hash with /U. This /U is the hash of no password, so
 * none opens it.
 */
export function sealedPdf(): Buffer {
  const opaque = "5c".repeat(32);
  const content = "The canary is silent, and so is its key.";
  const objects = [
    "<< /Type /Catalog /Pages 2 0 R >>",
    "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R >>",
    `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    `<< /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <${opaque}> /U <${opaque}> >>`,
  ];
  let text = "%PDF-1.4\n";
  const offsets = objects.map((object, at) => {
    const offset = text.length;
    text += `${at + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(offset).padStart(10, "0")} 00000 n \n`;
  });
  const size = objects.length + 1;
  const id = "<636e6172>";
  return Buffer.from(
    `${text}xref\n0 ${size}\n0000000000 65535 f \n${offsets.join("")}` +
      `trailer\n<< /Size ${size} /Root 1 0 R /Encrypt 5 0 R /ID [${id} ${id}] >>\n` +
      `startxref\n${text.length}\n%%EOF\n`,
    "latin1",
  );
}
