// The page: draws what is known after each round, and takes what is clicked or typed.

import { drawHistory, drawTimeline } from "./charts.js";
import { byId, clock, el, show, span } from "./dom.js";
import { askIfThere, follow, known, refresh, staleness, wish } from "./feed.js";
import { drawMap } from "./map.js";
import { matching, top } from "./model.js";
import { askApply, askMove, discard, showPreview } from "./move.js";
import {
  showDevices, showDrains, showPlan, showReasons, showServers, showSummary,
} from "./panels.js";

/** Devices offered for the history; others are found by the filter. */
const HISTORY_DEVICES_MAX = 100;
/** Time between two looks at a history, in ms. */
const HISTORY_MS = 10000;

const view = { filter: "", order: "name", pages: 1, historyOf: null, history: null };

function draw() {
  showStaleness();
  if (!known.status) return;
  const devices = matching(known.devices, view.filter);
  showSummary(byId("summary"), known);
  drawMap(byId("map"), byId("legend"), { known, devices });
  showDrains(byId("drains"), known);
  showPlan(byId("plan"), known);
  offerHistories(devices);
  drawHistory(byId("history"), historyToDraw());
  const showAll = byId("all-events").checked;
  const now = known.answeredAt;
  drawTimeline(byId("timeline"), byId("events"), { events: known.events, now, showAll });
  showServers(byId("servers"), known);
  showDevices(byId("devices"), byId("devices-more"), { known, devices, ...view });
  showReasons(byId("reasons"), known);
  showPreview();
}

/** Says aloud that the page is older than it looks. */
function showStaleness() {
  const age = staleness();
  const banner = byId("banner");
  document.body.classList.toggle("stale", age !== null);
  banner.hidden = age === null;
  if (age === null) return;
  const why = known.fault ?? "no answer from the daemon";
  // The moment stands still, so that the alert is not read out again with each second.
  show(banner, el("b", null, "Not live. "), `${why}. `, known.answeredAt
    ? `All below is as it was at ${clock(known.answeredAt)}. Packets go on being redirected by ` +
      "the tables in the kernel; nothing is measured or moved. "
    : "Nothing was heard from it since this page was opened. ",
    Number.isFinite(age) && el("span", { "aria-hidden": "true" }, `(${span(age)} old)`));
}

function offerHistories(devices) {
  const servers = known.servers.map(({ name }) => ["server", name]);
  const some = top(devices, known.rates.devices, HISTORY_DEVICES_MAX, "traffic");
  const all = [...servers, ...some.map(({ name }) => ["device", name])];
  if (!view.historyOf && all.length > 0) view.historyOf = all[0].join(" ");
  if (view.historyOf && !all.some((one) => one.join(" ") === view.historyOf)) {
    all.push(view.historyOf.split(" "));
  }
  const option = ([kind, name]) =>
    el("option", { value: `${kind} ${name}`, "data-key": `${kind} ${name}` }, `${kind} ${name}`);
  const select = byId("history-of");
  show(select, all.map(option));
  select.value = view.historyOf ?? "";
}

function historyToDraw() {
  const [kind, name] = (view.historyOf ?? "server ").split(" ");
  if (view.history?.of === view.historyOf && view.history.body) {
    const { unit, points } = view.history.body;
    return {
      name,
      unit,
      points: points.map((point) => ({ ...point, at: Date.parse(point.at) })),
      note: "Band: from the middle of what was expected to what is exceeded once in ten times.",
    };
  }
  const seen = known.seen.map((point) => ({
    at: point.at,
    value: kind === "server" ? point.servers.get(name) : point.devices.get(name),
  }));
  const note =
    "History and forecast are not available from this daemon; this is the traffic that the page " +
    `saw since it was opened${kind === "server" ? ", to the server" : ""}.`;
  return { name, unit: "bytes_per_second", points: seen, note };
}

let historyAskedAt = -Infinity;

async function takeHistory() {
  const of = view.historyOf;
  const isDue = performance.now() - historyAskedAt > HISTORY_MS || view.history?.of !== of;
  if (!of || !isDue) return;
  historyAskedAt = performance.now();
  const [kind, name] = of.split(" ");
  try {
    const body = await askIfThere(`/v1/history?${kind}=${encodeURIComponent(name)}`);
    view.history = { of, body };
  } catch {
    // The next round says whether the daemon answers; a server that is gone has no history.
    view.history = { of, body: null };
  }
}

const actions = {
  move: (target) => askMove(target.dataset.device),
  apply: askApply,
  discard,
  more: () => {
    view.pages += 1;
    draw();
  },
};

function take(event) {
  const target = event.target.closest?.("[data-action]");
  if (target) actions[target.dataset.action](target);
}

document.addEventListener("click", take);
document.addEventListener("keydown", (event) => {
  const isDrawn = event.target.getAttribute?.("role") === "button";
  if (isDrawn && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    take(event);
  }
});
byId("filter").addEventListener("input", (event) => {
  Object.assign(view, { filter: event.target.value, pages: 1 });
  wish.search = view.filter;
  draw();
  if (known.isPartial) refresh();
});
byId("order").addEventListener("change", (event) => {
  view.order = event.target.value;
  wish.order = view.order;
  draw();
  if (known.isPartial) refresh();
});
byId("all-events").addEventListener("change", draw);
byId("history-of").addEventListener("change", async (event) => {
  view.historyOf = event.target.value;
  await takeHistory();
  draw();
});
window.addEventListener("resize", draw);
setInterval(showStaleness, 1000);
follow(async () => {
  draw();
  await takeHistory();
});
