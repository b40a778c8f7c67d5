// Load in the course of time with what was expected of it, and what happened when.

import { clock, el, many, rate, share, show, span, svg } from "./dom.js";

const HEIGHT = 190;
const LEFT = 58;
const RIGHT = 10;
const TOP = 12;
const BOTTOM = 22;

const scale = (from, to, low, high) => (value) =>
  low + ((value - from) / (to - from || 1)) * (high - low);

/** A path through points; what is null leaves a gap. */
function lineOf(points, x, y) {
  let d = "";
  let isOpen = false;
  for (const { at, value } of points) {
    if (typeof value === "number") d += `${isOpen ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    isOpen = typeof value === "number";
  }
  return d;
}

/** The areas between the middle and the upper edge of what was expected. */
function bandOf(points, x, y) {
  const areas = [];
  let run = [];
  for (const point of [...points, {}]) {
    if (typeof point.p50 === "number" && typeof point.p90 === "number") run.push(point);
    else if (run.length > 1) {
      const edge = (key) => run.map((one) => `${x(one.at).toFixed(1)} ${y(one[key]).toFixed(1)}`);
      areas.push(`M${[...edge("p90"), ...edge("p50").reverse()].join("L")}z`);
      run = [];
    } else run = [];
  }
  return areas.join("");
}

/** Draws a history: points of `at`, `value`, `p50`, `p90`, oldest first; its unit; where from. */
export function drawHistory(place, { name, unit, points, note }) {
  const values = points.flatMap(({ value, p90 }) => [value, p90]).filter(Number.isFinite);
  if (values.length === 0) {
    show(place, el("p", { class: "note" }, `Nothing is known of the load of ${name} yet. ${note}`));
    return;
  }
  const isShare = unit === "share";
  const say = isShare ? share : rate;
  const width = Math.max(280, place.clientWidth);
  const [start, end] = [points[0].at, Math.max(points.at(-1).at, points[0].at + 60000)];
  const most = Math.max(...values, isShare ? 1 : 1);
  const x = scale(start, end, LEFT, width - RIGHT);
  const y = scale(0, most * 1.05, HEIGHT - BOTTOM, TOP);
  const last = points.findLast(({ value }) => typeof value === "number")?.value;
  const expected = points.findLast(({ p90 }) => typeof p90 === "number")?.p90;
  const words =
    `${name}: now ${last === undefined ? "unknown" : say(last)}` +
    `${expected === undefined ? "" : `, expected to stay below ${say(expected)}`}, ` +
    `at most ${say(Math.max(...values))} since ${clock(start)}`;
  const ticks = isShare ? [0, 0.5, 1] : [0, most / 2, most];
  show(
    place,
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": words },
      ticks.map((tick) => [
        svg("path", {
          class: isShare && tick === 1 ? "capacity-line" : "grid",
          d: `M${LEFT} ${y(tick)}H${width - RIGHT}`,
        }),
        svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end", class: "small" }, say(tick)),
      ]),
      svg("text", { x: LEFT, y: HEIGHT - 6, class: "small" }, clock(start)),
      svg("text", { x: width - RIGHT, y: HEIGHT - 6, "text-anchor": "end", class: "small" }, clock(end)),
      svg("path", { class: "band", d: bandOf(points, x, y) }),
      svg("path", {
        class: "p50",
        d: lineOf(points.map(({ at, p50 }) => ({ at, value: p50 })), x, y),
      }),
      svg("path", { class: "measured", d: lineOf(points, x, y) }),
    ),
    el("p", { class: "note" }, `${words}. ${note}`),
  );
}

const MARKS = {
  move: ["move", "M0-6 6 0 0 6-6 0z"],
  failover: ["failover", "M-6-4-4-6 0-2 4-6 6-4 2 0 6 4 4 6 0 2-4 6-6 4-2 0z"],
  drain_ended: ["drain ended", "M-5-5h10v10h-10z"],
  server_dead: ["server dead", "M-6-5h12L0 6z"],
  server_healthy: ["server healthy", "M-6 5h12L0-6z"],
};
const ALWAYS = ["move", "failover", "drain_ended"];
const LIST_MAX = 12;

/** Draws the last hour's events on a line for each kind, and lists the latest. */
export function drawTimeline(place, list, { events, now, showAll }) {
  const kinds = showAll ? Object.keys(MARKS) : ALWAYS;
  const wanted = events.filter((event) => showAll || ALWAYS.includes(event.kind));
  const recent = wanted
    .map((event) => ({ ...event, when: Date.parse(event.at) }))
    .filter(({ when }) => when > now - 3600000);
  const start = Math.min(now - 300000, ...recent.map(({ when }) => when - 10000));
  const width = Math.max(280, place.clientWidth);
  const left = 100;
  const x = scale(start, now, left, width - RIGHT - 6);
  const row = (index) => 16 + index * 24;
  const height = row(kinds.length) + 14;
  const words = kinds.map((kind) => {
    const len = recent.filter((event) => event.kind === kind).length;
    return `${MARKS[kind][0]}: ${len}`;
  });
  show(
    place,
    svg(
      "svg",
      {
        viewBox: `0 0 ${width} ${height}`,
        width,
        height,
        role: "img",
        "aria-label": `Events of the last ${span(now - start)}: ${words.join(", ")}`,
      },
      kinds.map((kind, index) => [
        svg("path", { class: "grid", d: `M${left} ${row(index)}H${width - RIGHT}` }),
        svg("path", { class: `event ${kind}`, d: MARKS[kind][1], transform: `translate(8 ${row(index)})` }),
        svg("text", { x: 20, y: row(index) + 4, class: "small" }, MARKS[kind][0]),
        recent
          .filter((event) => event.kind === kind)
          .map((event) =>
            svg(
              "path",
              {
                class: `event ${kind}`,
                d: MARKS[kind][1],
                transform: `translate(${x(event.when).toFixed(1)} ${row(index)})`,
              },
              svg("title", null, `${clock(event.when)} ${event.text}`),
            ),
          ),
      ]),
      svg("text", { x: left, y: height - 6, class: "small" }, clock(start)),
      svg("text", { x: width - RIGHT, y: height - 6, "text-anchor": "end", class: "small" }, "now"),
    ),
  );
  const latest = wanted.slice(-LIST_MAX).reverse();
  const hidden = wanted.length - latest.length;
  show(
    list,
    latest.map((event) =>
      el(
        "li",
        { "data-key": `event ${event.id}`, class: event.kind },
        el("time", { datetime: event.at }, clock(Date.parse(event.at))),
        " ",
        el("b", null, event.kind.replaceAll("_", " ")),
        ` ${event.text}`,
      ),
    ),
    wanted.length === 0 && el("li", { class: "note" }, "Nothing yet."),
    hidden > 0 && el("li", { class: "note" }, `${many(hidden, "earlier event")} not listed.`),
  );
}
