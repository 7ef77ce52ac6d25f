import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Node,
  type YAMLError,
  type YAMLMap,
} from "yaml";

/**
 * YAML as a person writes it, read without trust: whatever a file holds, the answer is its value or
 * what is wrong and where, in a time that grows with its length alone. So the library's own `toJS` is
 * not asked: it throws for aliases, and is quadratic in them and worse in keys that are collections.
 */
export type ReadYaml =
  | { kind: "read"; value: unknown; tree: Document; lines: LineCounter }
  | { kind: "wrong"; wrongs: Wrong[] };

export interface Wrong {
  /** 1-based. */
  line: number;
  col: number;
  /** What is wrong, and what would be right. */
  message: string;
}

/** More of them help nobody. */
export const maxWrongs = 100;

export function readYaml(text: string): ReadYaml {
  const lines = new LineCounter();
  // Doubled keys are looked for below: the library compares each with each.
  const options = { lineCounter: lines, prettyErrors: false, uniqueKeys: false } as const;
  // Not "silent": then a second document is passed over.
  const tree = parseDocument(text, { ...options, logLevel: "error" });
  const at = (offset: number, message: string) => ({ ...lines.linePos(offset), message });
  const broken = firstOfEachPlace([...tree.errors, ...tree.warnings]);
  if (broken.length > 0) {
    return { kind: "wrong", wrongs: broken.map((error) => at(error.pos[0], meant(error, text))) };
  }
  const reader = new Reader(text);
  const value = reader.read(tree.contents).value;
  const found = [...reader.wrongs, ...reader.unusedAnchors()];
  if (found.length === 0) return { kind: "read", value, tree, lines };
  return { kind: "wrong", wrongs: found.map(([offset, message]) => at(offset, message)) };
}

/** Nesting that is too deep is reported at each of its levels, and one slip in several ways. */
function firstOfEachPlace(errors: readonly YAMLError[]): YAMLError[] {
  const tooDeep = errors.find(({ code }) => code === "RESOURCE_EXHAUSTION");
  if (tooDeep !== undefined) return [tooDeep];
  const places = new Set<number>();
  return errors.slice(0, maxWrongs).filter(({ pos: [offset] }) => {
    if (places.has(offset)) return false;
    places.add(offset);
    return true;
  });
}

/** The library's words, and what the person may have meant. */
function meant({ code, message, pos: [offset] }: YAMLError, text: string): string {
  switch (code) {
    case "RESOURCE_EXHAUSTION":
      return "is nested too deeply";
    case "MULTIPLE_DOCS":
      return "a second document begins here; one file holds one";
    case "BAD_ALIAS":
    case "ALIAS_PROPS":
      return `${message}; ${inQuotes("*", wordAt(text, offset))}`;
    case "TAG_RESOLVE_FAILED": {
      const tag = wordAt(text, offset);
      return `${tag} reads as a tag, and there is no such; ${inQuotes("!", tag)}`;
    }
    case "BAD_SCALAR_START":
    case "BLOCK_AS_IMPLICIT_KEY":
      return `${message}; text that has such a sign needs quotes`;
    case "UNEXPECTED_TOKEN":
      return message.startsWith("Block scalar header")
        ? `${message}; text that begins with > or | needs quotes`
        : message;
    default:
      return message;
  }
}

function wordAt(text: string, offset: number): string {
  return /^[^\s,[\]{}]*/.exec(text.slice(offset, offset + 100))?.[0] ?? "";
}

function inQuotes(sign: string, word: string): string {
  return `text that begins with ${sign} needs quotes: ${JSON.stringify(word)}`;
}

/** What aliases may bring, for each value that the file itself has; and in a small file. */
const aliasShare = 50;
const aliasFloor = 10_000;

const coreTags = new Set(
  ["str", "int", "float", "bool", "null", "map", "seq"].map((name) => `tag:yaml.org,2002:${name}`),
);

/** A value, and how many nodes it is made of, those behind aliases counted each time. */
interface ReadValue {
  value: unknown;
  size: number;
}

interface Anchor {
  node: Node;
  isUsed: boolean;
  /** Undefined: it is not at its end yet, so that an alias here would hold itself. */
  read: ReadValue | undefined;
}

class Reader {
  readonly wrongs: [offset: number, message: string][] = [];
  readonly #text: string;
  /** The last one of each name counts (YAML 1.2.2 §3.2.2.2). */
  readonly #anchors = new Map<string, Anchor>();
  readonly #all: Anchor[] = [];
  #nodes = 0;
  #borrowed = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(node: unknown): ReadValue {
    if (this.wrongs.length >= maxWrongs) return nothing;
    this.#nodes += 1;
    if (isAlias(node)) return this.#behind(node.source, offsetOf(node));
    if (!isScalar(node) && !isMap(node) && !isSeq(node)) return nothing;
    const { anchor: name } = node;
    const anchor: Anchor = { node, isUsed: false, read: undefined };
    if (name !== undefined) {
      this.#anchors.set(name, anchor);
      this.#all.push(anchor);
    }
    this.#demandNoTag(node);
    const read = this.#valueOf(node);
    anchor.read = read;
    return read;
  }

  /** A value that begins with & loses its first word without a trace. */
  unusedAnchors(): [offset: number, message: string][] {
    return this.#all.flatMap(({ node, isUsed }): [number, string][] => {
      if (isUsed || !isScalar(node)) return [];
      const word = `&${node.anchor ?? ""}`;
      const offset = this.#text.lastIndexOf(word, offsetOf(node));
      const message = `${word} reads as an anchor, and no alias uses it; ${inQuotes("&", word)}`;
      return [[offset < 0 ? offsetOf(node) : offset, message]];
    });
  }

  #valueOf(node: unknown): ReadValue {
    if (isMap(node)) return this.#section(node);
    if (isScalar(node)) return { value: node.value, size: 1 };
    if (!isSeq(node)) return nothing;
    const items = node.items.map((item) => this.read(item));
    return { value: items.map(({ value }) => value), size: sizeOf(items) };
  }

  #section({ items }: YAMLMap): ReadValue {
    const names = new Set<string>();
    const entries = items.map(({ key, value }) => {
      const name = this.#nameOf(key);
      if (name !== undefined && names.has(name)) {
        this.#wrong(key, `${name} occurs twice in this section`);
      }
      if (name !== undefined) names.add(name);
      return [name ?? "", this.read(value)] as const;
    });
    // Not by assignment: a key may be called __proto__.
    const value = Object.fromEntries(entries.map(([name, read]) => [name, read.value]));
    return { value, size: sizeOf(entries.map(([, read]) => read)) };
  }

  #nameOf(key: unknown): string | undefined {
    if (!isScalar(key)) {
      this.#wrong(key, "a name must be text; no alias, list or section");
      return undefined;
    }
    this.read(key);
    const name = key.value == null ? "" : key.toString();
    if (name === "<<" && key.type === "PLAIN") {
      this.#wrong(key, "<< merges nothing here (it was YAML 1.1): write the keys out");
    }
    return name;
  }

  #behind(name: string, offset: number): ReadValue {
    const anchor = this.#anchors.get(name);
    if (anchor === undefined) {
      const quoted = inQuotes("*", `*${name}`);
      this.wrongs.push([
        offset,
        `*${name} reads as an alias, and no &${name} is before it; ${quoted}`,
      ]);
      return nothing;
    }
    anchor.isUsed = true;
    if (anchor.read === undefined) {
      this.wrongs.push([offset, `*${name} is inside &${name}, which would then contain itself`]);
      return nothing;
    }
    const before = this.#borrowed;
    this.#borrowed += anchor.read.size;
    const limit = Math.max(aliasFloor, aliasShare * this.#nodes);
    if (before <= limit && this.#borrowed > limit) {
      const message = `aliases make more than ${String(limit)} values of this file; write them out`;
      this.wrongs.push([offset, message]);
    }
    return anchor.read;
  }

  #demandNoTag({ tag, range }: Node): void {
    if (tag === undefined || tag === "!" || coreTags.has(tag)) return;
    const short = tag.replace("tag:yaml.org,2002:", "!!");
    this.wrongs.push([range?.[0] ?? 0, `the tag ${short} is not known here; leave it out`]);
  }

  #wrong(node: unknown, message: string): void {
    this.wrongs.push([offsetOf(node), message]);
  }
}

const nothing: ReadValue = { value: null, size: 1 };

function sizeOf(items: readonly ReadValue[]): number {
  return items.reduce((sum, { size }) => sum + size, 1);
}

function offsetOf(node: unknown): number {
  const range = (node as Node | null)?.range;
  return range?.[0] ?? 0;
}
