// Small charts, drawn by hand: a line and what is below it.

import { h, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 70;

function path(points, from, span, top) {
  const x = (at) => ((at - from) / span) * WIDTH;
  const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 8);
  return points.map(([at, value], index) => `${index ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`).join("");
}

/** As long as there is less to show than the whole time, a chart is not mostly empty. */
const SPAN_MS_MIN = 120_000;

/** A chart of [time, value] over the time before now, with the newest value in words. */
export function chart({ title, points, spanMs: spanMax, show, floor = 1 }) {
  const newest = points.at(-1);
  const until = newest?.[0] ?? Date.now();
  const spanMs = Math.min(spanMax, Math.max(SPAN_MS_MIN, until - (points[0]?.[0] ?? until)));
  const from = until - spanMs;
  const top = Math.max(floor, ...points.map(([, value]) => value)) * 1.05;
  const line = path(points, from, spanMs, top);
  const first = points[0];
  const area = first ? `${line}L${WIDTH},${HEIGHT}L${(((first[0] - from) / spanMs) * WIDTH).toFixed(1)},${HEIGHT}Z` : "";
  const most = points.length ? `at most ${show(Math.max(...points.map(([, value]) => value)))} in ${Math.max(1, Math.round((until - points[0][0]) / 60_000))} min` : "the first sample comes in a few seconds";
  return h(
    "div",
    { class: "panel chart" },
    h("div", { class: "line" }, h("span", { class: "small soft" }, title), h("span", { class: "now" }, newest ? show(newest[1]) : "–")),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}, ${most}` },
      svg("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
      area && svg("path", { class: "area", d: area }),
      line && svg("path", { class: "stroke", d: line }),
    ),
    h("div", { class: "small faint" }, most),
  );
}

/** A line without anything around it. */
export function spark(values) {
  if (values.length < 2) return null;
  const points = values.map((value, index) => [index, value]);
  const top = Math.max(1, ...values) * 1.05;
  const line = svg("path", { class: "stroke", d: path(points, 0, values.length - 1, top) });
  return svg("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, line);
}
