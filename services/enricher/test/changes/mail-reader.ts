import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A part without parts of its own, as Python's email package reads it. */
export interface Leaf {
  path: number[];
  type: string;
  /**
   * A person is shown it as the sender's text: no attachment, nothing signed, reported or embedded.
   */
  shown: boolean;
  /** The text that is shown; of HTML, what is outside tags, comments, scripts and styles. */
  text: string;
  charsets: string[];
  /** Equal if header and body of the part are equal. */
  bytes: string;
}

export interface MailReader {
  read(mail: Buffer): Promise<Leaf[]>;
  close(): Promise<void>;
}

/** Starts a mail reader that has nothing in common with the libraries that change mails. */
export function startMailReader(): MailReader {
  const program = new URL("mail-reader.py", import.meta.url).pathname;
  const python = spawn("python3", [program], { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
  return {
    read: async (mail) => {
      python.stdin.write(`${mail.toString("base64")}\n`);
      const { value, done } = await answers.next();
      if (done === true) throw new Error("the reader of mails has ended");
      return JSON.parse(value) as Leaf[];
    },
    close: async () => {
      python.stdin.end();
      await once(python, "close");
    },
  };
}
