/** The value of a series that this service shows (HEALTH_HTTP); undefined: it has none of that name and labels. */
export async function valueAt(address: string, series: string): Promise<number | undefined> {
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}
