// The picture: devices on the left, servers on the right, and through which each is reached.

import { count, el, many, rate, share, show, span, svg } from "./dom.js";
import { drawn, parts, serviceOf, shares, stateOf } from "./model.js";

const DEVICES_MAX = 24;
const SERVERS_MAX = 16;
const PARTS_MAX = 6;
const ROW = 40;
const BOX = 108;
const GAP = 14;
/** From this age of a signal its age is told, in ms. */
const OLD_MS = 20000;

/** The shape of a state: each is told by its outline, without colour. */
export function glyph(kind, x = 0, y = 0) {
  const shapes = {
    healthy: "M6 1a5 5 0 1 0 .01 0z",
    suspect: "M6 1 11 11H1z",
    dead: "M1 3 3 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3z",
    filling: "M1 11V8h3V5h3V2h4v9z",
    draining: "M1 2h10L6 11z",
    inactive: "M1.5 1.5h9v9h-9z",
    unknown: "M6 1a5 5 0 1 0 .01 0zM6 3.5a2.5 2.5 0 1 1-.01 0z",
  };
  const path = svg("path", {
    class: `glyph ${kind}`,
    "fill-rule": "evenodd",
    d: shapes[kind] ?? shapes.unknown,
  });
  if (x || y) path.setAttribute("transform", `translate(${x} ${y})`);
  return path;
}

/** A glyph among words. */
export const mark = (kind) =>
  svg("svg", { class: "mark", viewBox: "0 0 12 12", "aria-hidden": "true" }, glyph(kind));

const cut = (text, width, size = 7.2) => {
  const max = Math.max(3, Math.floor(width / size));
  return text.length > max ? `${text.slice(0, max - 1)}…` : text;
};

/** Draws the map of these devices. */
export function drawMap(place, legend, { known, devices }) {
  const width = Math.max(280, place.clientWidth);
  const isNarrow = width < 560;
  const size = {
    width,
    left: isNarrow ? width * 0.36 : Math.min(280, width * 0.32),
    right: isNarrow ? width * 0.47 : Math.min(420, width * 0.42),
  };
  const busiest = drawn(devices, known.servers, known.rates.devices, DEVICES_MAX);
  const servers = serversToDraw(known.servers, devices, busiest);
  const fitting = known.isPartial ? known.fittingLen : devices.length;
  const hidden = fitting - busiest.length;
  const heights = [busiest.length * ROW + (hidden > 0 ? 24 : 0), servers.length * (BOX + GAP) - GAP];
  const height = Math.max(60, ...heights) + 4;
  const top = (own) => (height - own) / 2;
  const at = {
    device: new Map(busiest.map((device, index) => [device.name, top(heights[0]) + index * ROW])),
    server: new Map(
      servers.map((server, index) => [server.name, top(heights[1]) + index * (BOX + GAP)]),
    ),
  };
  const onServers = shares(known.devices, known.rates.devices);
  show(
    place,
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Map" },
      links(busiest, at, size),
      busiest.map((device) => deviceNode(device, at.device.get(device.name), size, known)),
      hidden > 0 &&
        svg("text", { x: 2, y: height - 8, class: "small" }, `${count(hidden)} more not drawn`),
      servers.map((server) =>
        serverBox(server, at.server.get(server.name), size, onServers.get(server.name) ?? []),
      ),
    ),
  );
  const unseen = known.servers.length - servers.length;
  const kinds = ["healthy", "filling", "suspect", "dead", "draining", "inactive", "unknown"];
  show(
    legend,
    kinds.map((kind) => el("span", { class: "key" }, mark(kind), ` ${kind}`)),
    " Lines: solid for new flows, dashed for flows that drain, dotted to the backup. ",
    hidden > 0 && `Drawn are the ${busiest.length} busiest of ${count(fitting)} devices. `,
    unseen > 0 && `${many(unseen, "server")} not drawn: filter by name.`,
  );
}

/** Servers that the drawn devices need come first; all keep their order. */
function serversToDraw(servers, devices, busiest) {
  if (servers.length <= SERVERS_MAX) return servers;
  const needed = new Set();
  for (const { association } of [...busiest, ...devices]) {
    needed.add(association.server);
    for (const drain of association.drains) needed.add(drain.server);
    if (needed.size >= SERVERS_MAX) break;
  }
  return servers.filter((server) => needed.has(server.name)).slice(0, SERVERS_MAX);
}

function links(devices, at, size) {
  const [from, to] = [size.left, size.width - size.right];
  const arrivals = new Map();
  const line = (device, server, kind, title) => {
    const y = at.server.get(server);
    if (y === undefined) return null;
    const arrived = arrivals.get(server) ?? 0;
    arrivals.set(server, arrived + 1);
    const start = at.device.get(device.name) + ROW / 2 - 3 + (kind === "link" ? 0 : 6);
    const end = y + 12 + ((arrived * 11) % (BOX - 24));
    const middle = (from + to) / 2;
    const d = `M${from} ${start}C${middle} ${start} ${middle} ${end} ${to} ${end}`;
    return svg("path", { class: kind, d }, svg("title", null, title));
  };
  return devices.map((device) => {
    const { server, backup, drains } = device.association;
    const few = devices.length <= 12 && backup && backup !== server;
    return [
      line(device, server, "link", `${device.name} is on ${server}`),
      drains.map((drain) =>
        line(device, drain.server, "link drain",
          `${many(drain.flows_len, "flow")} of ${device.name} on ${drain.server} drain`),
      ),
      few && line(device, backup, "link backup", `${backup} takes over ${device.name}`),
    ];
  });
}

function deviceNode(device, y, size, known) {
  const { server, drains } = device.association;
  const figures = [many(device.flows_len, "flow"), rate(known.rates.devices.get(device.name))];
  const draining = drains.reduce((sum, drain) => sum + drain.flows_len, 0);
  const label =
    `${device.name} at ${serviceOf(device)}, on ${server}, ${figures[0]}` +
    `${drains.length > 0 ? `, ${count(draining)} draining` : ""}: move it`;
  const line = [figures[0], drains.length > 0 ? `${count(draining)} draining` : figures[1]].join(" · ");
  return svg(
    "g",
    {
      class: "device",
      role: "button",
      tabindex: 0,
      "aria-label": label,
      "data-key": `map ${device.name}`,
      "data-action": "move",
      "data-device": device.name,
      transform: `translate(2 ${y})`,
    },
    svg("title", null, label),
    svg("rect", { width: size.left - 4, height: ROW - 6, rx: 5 }),
    svg("text", { x: 8, y: 15, class: "name" }, cut(device.name, size.left - 20)),
    svg("text", { x: 8, y: 28, class: "small" }, cut(line, size.left - 18, 5.9)),
  );
}

function serverBox(server, y, size, onIt) {
  const { kind, words } = stateOf(server);
  const width = size.right - 4;
  const bytes = onIt.reduce((sum, one) => sum + one.rate, 0);
  const figures = [
    many(server.devices_len, "device"),
    many(server.flows_len, "flow"),
    width > 220 && rate(bytes),
  ].filter(Boolean);
  const load = loadWords(server);
  const label = `Server ${server.name}, ${words}, ${load}, ${figures.join(", ")}`;
  return svg(
    "g",
    {
      class: `server ${kind}`,
      role: "img",
      "aria-label": label,
      "data-key": `map server ${server.name}`,
      transform: `translate(${size.width - size.right + 2} ${y})`,
    },
    svg("title", null, label),
    svg("rect", { class: "box", width, height: BOX, rx: 6 }),
    glyph(kind, 10, 9),
    svg("text", { x: 28, y: 19, class: "name" }, cut(server.name, width * 0.45)),
    svg("text", { x: width - 8, y: 19, class: "state", "text-anchor": "end" }, words),
    bar(server, onIt, width - 20),
    svg("text", { x: 10, y: 76, class: "small" }, cut(load, width - 16, 5.9)),
    svg("text", { x: 10, y: 94, class: "small" }, cut(figures.join(" · "), width - 16, 5.9)),
  );
}

/** A server's load in words. What is not known is never told as idle. */
export function loadWords(server) {
  const { load } = server;
  if (typeof load?.score !== "number") return "load not measured";
  const age = load.signals?.[load.signal]?.age_ms ?? 0;
  const old = age > OLD_MS ? `, read ${span(age)} ago` : "";
  const expected = load.forecast ? `, expected ≤ ${share(load.forecast.p90)}` : "";
  return `load ${share(load.score)}${load.signal ? ` (${load.signal})` : ""}${old}${expected}`;
}

/** The whole bar is the server's capacity; without a measured load it is what the server does. */
function bar(server, onIt, width) {
  const score = server.load?.score;
  const isMeasured = typeof score === "number";
  const full = isMeasured ? Math.min(1, score) * width : width;
  const p90 = server.load?.forecast?.p90;
  let x = 10;
  const pieces = parts(onIt, PARTS_MAX).map(({ name, part }, index) => {
    const piece = svg(
      "g",
      null,
      svg("title", null, `${name}: ${share(part)} of what ${server.name} does`),
      svg("rect", { class: `part tone${index % 3}`, x, y: 32, width: part * full, height: 26 }),
      part * full > 34 &&
        svg("text", { class: "inbar", x: x + 5, y: 49 }, cut(name, part * full - 8, 6.8)),
    );
    x += part * full;
    return piece;
  });
  const beyond = isMeasured && full > 0 && pieces.length === 0;
  return svg(
    "g",
    { class: isMeasured ? "bar" : "bar unmeasured" },
    svg("rect", { class: "room", x: 10, y: 32, width, height: 26 }),
    beyond && svg("rect", { class: "part other", x: 10, y: 32, width: full, height: 26 }),
    pieces,
    svg("rect", { class: "capacity", x: 10, y: 32, width, height: 26 }),
    isMeasured && typeof p90 === "number" &&
      svg("path", { class: "expected", d: `M${10 + Math.min(1, p90) * width} 28v34` },
        svg("title", null, `expected to stay below ${share(p90)}`)),
  );
}
