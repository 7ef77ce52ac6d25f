// Draws the charts of a report (page.ts puts it into the page, after uPlot). Runs in a browser.
/* global uPlot, document, window, getComputedStyle, matchMedia */
const result = JSON.parse(document.getElementById("result").textContent);
const { timeline, endToEnd, accept } = result;
const height = 250;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
const column = (name) => timeline.map((second) => second[name]);
const seconds = column("at");
const hasOut = timeline.some(({ delivered }) => delivered > 0);
const hasWaiting = timeline.some(({ waiting }) => waiting > 0);

function ms(value) {
  if (value == null) return "–";
  if (value < 1) return `${Math.round(value * 1000)} µs`;
  return value < 1000
    ? `${Number(value.toPrecision(3))} ms`
    : `${Number((value / 1000).toPrecision(3))} s`;
}

function axis(values, size = 56) {
  const line = { stroke: colour("grid"), width: 1 };
  return { stroke: colour("muted"), grid: line, ticks: line, size, ...(values && { values }) };
}

function series(label, name, { fill = false, dash, width = 2, value } = {}) {
  const stroke = colour(name).trim();
  return {
    label,
    stroke,
    width,
    points: { show: timeline.length < 40, size: 4 },
    spanGaps: true,
    ...(fill && { fill: `color-mix(in srgb, ${stroke} 14%, transparent)` }),
    ...(dash && { dash }),
    ...(value && { value: (_, given) => value(given) }),
  };
}

const atSecond = { label: "second", value: (_, given) => (given == null ? "–" : `${given} s`) };
/** A label at each decade; where few decades are shown, also at 2 and 5 times each. */
function logTicks(_, splits) {
  const shown = splits.filter((split) => split > 0);
  const isNarrow = Math.log10(Math.max(...shown) / Math.min(...shown)) < 2.5;
  const labelled = isNarrow ? [1, 2, 5] : [1];
  return splits.map((split) => {
    const mantissa = Math.round(split / 10 ** Math.floor(Math.log10(split) + 1e-9));
    return split > 0 && labelled.includes(mantissa) ? ms(split) : null;
  });
}
// uPlot begins at the lower end of the scale and leaves out labels that are too close together.
function decades(_, __, low, high) {
  const from = Math.floor(Math.log10(low));
  const count = Math.ceil(Math.log10(high)) - from;
  const all = Array.from({ length: count * 9 }, (_, nth) => {
    return ((nth % 9) + 1) * 10 ** (from + Math.floor(nth / 9));
  });
  return all.filter((split) => split >= low && split <= high);
}

const logAxis = (size) => ({
  ...axis(logTicks, size),
  splits: decades,
  filter: (_, splits) => splits,
});

const charts = {
  rates: () => ({
    data: [
      seconds,
      column("offered"),
      column("accepted"),
      ...(hasOut ? [column("delivered")] : []),
    ],
    series: [
      atSecond,
      series("offered", "grey", { dash: [6, 4] }),
      series("accepted", "blue", { fill: true }),
      ...(hasOut ? [series("delivered", "green")] : []),
    ],
    axes: [axis((_, splits) => splits.map((split) => `${split} s`), 34), axis()],
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.08)] } },
  }),
  latency: () => {
    const columns = [
      ["acceptP50Ms", "accept p50", "blue", {}],
      ["acceptP99Ms", "accept p99", "blue", { dash: [6, 4] }],
      ["endP50Ms", "end to end p50", "orange", {}],
      ["endP99Ms", "end to end p99", "orange", { dash: [6, 4] }],
    ].filter(([name]) => timeline.some((second) => second[name] != null));
    return {
      data: [seconds, ...columns.map(([name]) => column(name))],
      series: [
        atSecond,
        ...columns.map(([, label, name, look]) => series(label, name, { ...look, value: ms })),
      ],
      axes: [axis((_, splits) => splits.map((split) => `${split} s`), 34), logAxis(64)],
      scales: { x: { time: false }, y: { distr: 3 } },
    };
  },
  inFlight: () => ({
    data: [
      seconds,
      column("inFlight"),
      ...(hasWaiting ? [column("waiting")] : []),
      column("errors"),
    ],
    series: [
      atSecond,
      series("in flight", "blue", { fill: true }),
      ...(hasWaiting ? [series("waiting for a connection", "orange")] : []),
      series("errors per second", "red"),
    ],
    axes: [axis((_, splits) => splits.map((split) => `${split} s`), 34), axis()],
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.08)] } },
  }),
  histogram: () => {
    const { bars } = endToEnd ?? accept;
    return {
      data: [bars.map(({ toMs }) => toMs), bars.map(({ count }) => count)],
      series: [
        { label: "up to", value: (_, given) => ms(given) },
        {
          ...series("mails", "green", { fill: true, width: 1 }),
          paths: uPlot.paths.bars({ size: [0.9, 60], align: -1 }),
          points: { show: false },
        },
      ],
      axes: [logAxis(34), axis()],
      scales: {
        x: { time: false, distr: 3, range: (_, low, high) => [low / 1.6, high * 1.3] },
        y: { range: (_, low, high) => [0, Math.max(1, high * 1.08)] },
      },
    };
  },
};

const drawn = [];

function draw() {
  for (const chart of drawn.splice(0)) chart.destroy();
  for (const element of document.querySelectorAll("[data-chart]")) {
    const { data, ...options } = charts[element.dataset.chart]();
    const cursor = { points: { size: 6 }, drag: { x: true, y: false } };
    drawn.push(
      new uPlot({ ...options, width: element.clientWidth, height, cursor }, data, element),
    );
  }
}

draw();
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
