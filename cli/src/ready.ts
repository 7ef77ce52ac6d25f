import { request } from "node:http";
import { parseArgs } from "node:util";

/**
 * `rs-agent ready`: asks one service's health port. Docker runs it every few seconds in each
 * container, so it loads nothing but Node itself: no driver, no schemas, no command parser.
 */
const readyUsage = `Usage: rs-agent ready [--url URL] [--live] [--timeout MS]

asks the service that HEALTH_HTTP belongs to whether it is ready

  --url URL     another one, e.g. http://127.0.0.1:9100
  --live        only whether its event loop turns (/healthz)
  --timeout MS  how long it may take (3000)

Exit codes: 0 ready, 1 not ready or no answer, 64 wrong usage`;

export interface Answered {
  exitCode: 0 | 1 | 64;
  text: string;
}

const maxAnswerBytes = 65_536;

/** Never rejects. */
export async function askReady(
  args: readonly string[],
  env: Record<string, string | undefined>,
): Promise<Answered> {
  const asked = parse(args, env);
  if ("text" in asked) return asked;
  try {
    const { status, body } = await get(asked.url, asked.timeoutMs);
    if (status === 200)
      return { exitCode: 0, text: asked.url.pathname === "/healthz" ? "alive" : "ready" };
    return { exitCode: 1, text: whyNot(body) ?? `${asked.url.href} answers ${status}` };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { exitCode: 1, text: `no answer from ${asked.url.href}: ${reason}` };
  }
}

function parse(
  args: readonly string[],
  env: Record<string, string | undefined>,
): { url: URL; timeoutMs: number } | Answered {
  const wrong = (text: string): Answered => ({ exitCode: 64, text: `${text}\n\n${readyUsage}` });
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        url: { type: "string" },
        live: { type: "boolean", default: false },
        timeout: { type: "string", default: "3000" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) return { exitCode: 0, text: readyUsage };
    const given = values.url ?? urlOf(env["HEALTH_HTTP"] ?? "");
    if (given === undefined) return wrong("neither --url nor HEALTH_HTTP (host:port) is given");
    const timeoutMs = Number(values.timeout);
    if (!(timeoutMs > 0 && timeoutMs <= 600_000)) return wrong("--timeout is 1 to 600000");
    const url = new URL(values.live ? "/healthz" : "/readyz", given);
    return url.protocol === "http:" ? { url, timeoutMs } : wrong("--url begins with http://");
  } catch (error) {
    return wrong(error instanceof Error ? error.message : String(error));
  }
}

/** A service that listens on all addresses is asked on this host. */
function urlOf(listen: string): string | undefined {
  const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):(\d+)$/.exec(listen) ?? [];
  if (host === undefined || port === undefined) return undefined;
  const local: Record<string, string> = { "0.0.0.0": "127.0.0.1", "[::]": "[::1]" };
  return `http://${local[host] ?? host}:${port}`;
}

function get(url: URL, timeoutMs: number): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      asking.destroy(new Error(`not within ${timeoutMs} ms`));
    }, timeoutMs);
    const asking = request(url, { agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
        if (body.length > maxAnswerBytes) asking.destroy(new Error("its answer does not end"));
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    asking.on("error", reject);
    asking.on("close", () => clearTimeout(late));
    asking.end();
  });
}

/** The reasons that `/readyz` gives, one per line. */
function whyNot(body: string): string | undefined {
  try {
    const { notReady } = JSON.parse(body) as { notReady?: { part: string; reason: string }[] };
    return notReady?.map(({ part, reason }) => `${part}: ${reason}`).join("\n");
  } catch {
    return undefined;
  }
}
