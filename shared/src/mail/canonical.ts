const cr = 0x0d;
const lf = 0x0a;

/**
 * The canonical raw mail, on whose bytes SHA-256, scans, signature and relay agree: every lone CR
 * and LF becomes CRLF (RFC 5321 §2.3.8 knows no other line end), and the last line has its end too.
 * Returns `raw` itself if nothing is to be changed; time and memory grow linearly.
 */
export function canonicalize(raw: Buffer): Buffer {
  const lone = countLone(raw);
  const endless = !endsWithLineEnd(raw);
  if (lone === 0 && !endless) return raw;
  const whole = Buffer.allocUnsafe(raw.length + lone + (endless ? 2 : 0));
  const written = copyWithLineEnds(raw, whole);
  if (endless) {
    whole[written] = cr;
    whole[written + 1] = lf;
  }
  return whole;
}

/** The bytes without NUL characters; `raw` itself if it has none. */
export function withoutNul(raw: Buffer): Buffer {
  const first = raw.indexOf(0);
  if (first < 0) return raw;
  const kept = Buffer.allocUnsafe(raw.length);
  let to = raw.copy(kept, 0, 0, first);
  for (let from = first; from < raw.length; from += 1) {
    const byte = raw[from] as number;
    if (byte === 0) continue;
    kept[to] = byte;
    to += 1;
  }
  return kept.subarray(0, to);
}

const loneLineEnd = /\r(?!\n)|(?<!\r)\n/;
const blockBytes = 64 * 1024;

/** How many CR are not followed by LF, and how many LF not preceded by CR. */
function countLone(raw: Buffer): number {
  let lone = 0;
  for (let at = 0; at < raw.length;) {
    let end = Math.min(at + blockBytes, raw.length);
    // Not between CR and LF.
    if (raw[end - 1] === cr && raw[end] === lf) end += 1;
    // Text is searched several times faster than bytes are looked at, and few blocks have any.
    if (loneLineEnd.test(raw.toString("latin1", at, end))) lone += countLoneIn(raw, at, end);
    at = end;
  }
  return lone;
}

function countLoneIn(raw: Buffer, start: number, end: number): number {
  let lone = 0;
  let previous = 0;
  // By index: an iterator over a Buffer takes several times as long, and this loop sees every byte.
  for (let at = start; at < end; at += 1) {
    const byte = raw[at] as number;
    if (byte === lf) {
      if (previous !== cr) lone += 1;
    } else if (previous === cr) {
      lone += 1;
    }
    previous = byte;
  }
  return previous === cr ? lone + 1 : lone;
}

function endsWithLineEnd(raw: Buffer): boolean {
  const last = raw.at(-1);
  return last === cr || last === lf;
}

/** Writes `raw` with whole line ends to `target` and returns how many bytes it wrote. */
function copyWithLineEnds(raw: Buffer, target: Buffer): number {
  let to = 0;
  for (let from = 0; from < raw.length; from += 1) {
    const byte = raw[from] as number;
    if (byte !== cr && byte !== lf) {
      target[to] = byte;
      to += 1;
      continue;
    }
    if (byte === cr && raw[from + 1] === lf) from += 1;
    target[to] = cr;
    target[to + 1] = lf;
    to += 2;
  }
  return to;
}
