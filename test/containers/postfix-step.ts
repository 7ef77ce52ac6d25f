import { createTransport } from "nodemailer";
import { people } from "../../start/samples/samples.ts";
import type { ComposedSystem } from "./composed-system.ts";
import type { Engine } from "./engine.ts";
import { eventually, expectThat } from "./expect-that.ts";

const name = "rs-agent-test-postfix";

/** Postfix takes a mail on the next hop's port, passes it on unchanged and stops in order. */
export async function postfixPassesOn(engine: Engine, system: ComposedSystem): Promise<void> {
  const before = new Set(await system.relayed());
  const network = ["--network", system.frontNetwork];
  const settings = ["-e", "POSTFIX_RELAYHOST=[next-hop]:10026", "-e", "MAIL_HOSTNAME=out.example"];
  const image = "radicalspam/rs-postfix";
  await engine.docker(["run", "-d", "--name", name, ...network, ...settings, image]);
  try {
    const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    const { stdout: address } = await engine.docker(["inspect", "-f", format, name]);
    // 8-bit text with a long line, which a Postfix that rewrites would change.
    const body = `Grüße, ${"x".repeat(900)}\r\n\r\n.. two dots\r\n`;
    const header = `From: ${people.jonas}\r\nTo: ${people.anna}\r\nSubject: by Postfix\r\n`;
    const raw = Buffer.from(`${header}MIME-Version: 1.0\r\n\r\n${body}`);
    await eventually("Postfix takes a mail", 60_000, () => handIn(address.trim(), raw));
    await eventually("the mail is at its next hop, unchanged", 60_000, async () => {
      const [file] = (await system.relayed()).filter((found) => !before.has(found));
      expectThat(file !== undefined, "there is a new mail");
      const mail = await system.relayedMail(file);
      expectThat(mail.includes("by out.example (Postfix)"), "it went through Postfix");
      expectThat(mail.endsWith(`\r\n\r\n${body}`), `the body is as it was: ${mail}`);
    });
    await engine.docker(["stop", name]);
    const { stdout: code } = await engine.docker(["inspect", "-f", "{{.State.ExitCode}}", name]);
    expectThat(code.trim() === "0", `Postfix ends with exit code 0, not ${code.trim()}`);
  } finally {
    await engine.docker(["rm", "-f", "-v", name], { mayEndWith: [1] });
  }
}

async function handIn(host: string, raw: Buffer): Promise<void> {
  const transport = createTransport({ host, port: 10_026, ignoreTLS: true, name: "relay.example" });
  try {
    const envelope = { from: people.jonas, to: [people.anna], use8BitMime: true };
    await transport.sendMail({ envelope, raw });
  } finally {
    transport.close();
  }
}
