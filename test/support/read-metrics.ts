/**
 * The value of a series of this service (HEALTH_HTTP); undefined if it has none with that name and
 * labels.
 */
export async function valueAt(address: string, series: string): Promise<number | undefined> {
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}
