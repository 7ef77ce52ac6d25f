import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expectThat } from "./expect-that.ts";
import { run } from "./command.ts";
import type { Engine } from "./engine.ts";

/** The lines of the product's first description: each must work as it stands, in one shell. */
const lines = [
  "CLAMD_ID=$(docker run -d --name clamd1 -p 3310:3310 radicalspam/rs-clamav)",
  "CLAMD_IP=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' ${CLAMD_ID})",
  "docker run -it --rm --volumes-from ${CLAMD_ID} radicalspam/rs-agent clamav-cli --help",
  // clamd loads its signatures first.
  "until docker run -it --rm --volumes-from ${CLAMD_ID} -v `pwd`/scan:/scan radicalspam/rs-agent clamav-cli --host ${CLAMD_IP} ping; do sleep 0.5; done",
  "docker run -it --rm --volumes-from ${CLAMD_ID} -v `pwd`/scan:/scan radicalspam/rs-agent clamav-cli --host ${CLAMD_IP} version",
  "docker run -it --rm --volumes-from ${CLAMD_ID} -v `pwd`/scan:/scan radicalspam/rs-agent clamav-cli --host ${CLAMD_IP} scan /scan",
  "docker run -it --rm --volumes-from ${CLAMD_ID} -v `pwd`/scan:/scan radicalspam/rs-agent cp /scan/letter.txt /var/tmp/letter.txt",
  "docker run -it --rm --volumes-from ${CLAMD_ID} -v `pwd`/scan:/scan radicalspam/rs-agent clamav-cli --host ${CLAMD_IP} scan --disk /var/tmp/letter.txt",
  "docker run -it --rm --volumes-from ${CLAMD_ID} radicalspam/rs-agent ls -l /var/tmp",
  "docker run -it --rm --volumes-from ${CLAMD_ID} radicalspam/rs-agent ls -l /var/lib/clamav",
  "docker run -it --rm --volumes-from ${CLAMD_ID} radicalspam/rs-agent ls -l /etc/clamav",
];

/** clamd as one container, and commands that share its volumes. */
export async function runSeedLines(engine: Engine, dir: string): Promise<void> {
  await mkdir(join(dir, "scan"), { recursive: true });
  await writeFile(join(dir, "scan", "letter.txt"), "Dear Anna,\n");
  const script = join(dir, "seed-lines.sh");
  await writeFile(script, `set -e\n${lines.join("\n")}\n`);
  try {
    // `docker run -it` wants a terminal.
    const { stdout } = await run("script", ["-qec", `sh ${script}`, "/dev/null"], {
      cwd: dir,
      env: engine.env,
    });
    for (const said of [
      /Usage: clamav-cli/,
      /^PONG/m,
      /^ClamAV \d/m,
      /^\/scan\/letter\.txt: OK/m,
      /^\/var\/tmp\/letter\.txt: OK/m,
      / letter\.txt\r?$/m,
      / clamd\.conf\r?$/m,
    ]) {
      expectThat(said.test(stdout), `the lines print ${String(said)}: ${stdout}`);
    }
    await engine.docker(["stop", "clamd1"]);
    const { stdout: code } = await engine.docker([
      "inspect",
      "-f",
      "{{.State.ExitCode}}",
      "clamd1",
    ]);
    expectThat(code.trim() === "0", `rs-clamav stops with exit code 0, not ${code}`);
  } finally {
    await engine.docker(["rm", "-f", "-v", "clamd1"], { mayEndWith: [1] });
  }
}
