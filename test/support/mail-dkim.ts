import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { dkimRecord } from "../../start/samples/dkim-record.ts";

/** A DNS with one record. */
const script = `
use strict; use warnings;
use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use Net::DNS::RR;
my ($owner, $record, $path) = @ARGV;
no warnings 'redefine';
*Mail::DKIM::DNS::query = sub {
  my ($name, $type) = @_;
  die "asked for $name" unless $name eq $owner && $type eq 'TXT';
  return Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => [unpack '(a255)*', $record]);
};
my $verifier = Mail::DKIM::Verifier->new;
open(my $mail, '<:raw', $path) or die $!;
local $/ = \\8192;
while (my $chunk = <$mail>) { $verifier->PRINT($chunk) }
$verifier->CLOSE;
print join "\\n", $verifier->result_detail,
  map { join " ", $_->domain, $_->selector } $verifier->signatures;
`;

/**
 * What Debian's libmail-dkim-perl says about the mail if the DNS has this key of northwind.example:
 * `pass` or the like, and each signature as `domain selector`. It may write to `file`.
 */
export async function verifyByMailDkim(
  mail: Buffer,
  { key, file }: { key: string; file: string },
): Promise<{ result: string; signatures: string[] }> {
  await writeFile(file, mail);
  const owner = "rs1._domainkey.northwind.example";
  const { stdout } = await promisify(execFile)("perl", [
    "-e",
    script,
    owner,
    dkimRecord(key),
    file,
  ]);
  const [result = "", ...signatures] = stdout.split("\n");
  return { result, signatures };
}
