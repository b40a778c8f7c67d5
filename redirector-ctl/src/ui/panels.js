// The panels of words and figures: servers, devices, drains, plan, reasons.

import { bytes, clock, count, el, many, perSecond, rate, share, show, span } from "./dom.js";
import { drainKey } from "./feed.js";
import { refusal } from "./login.js";
import { loadWords, mark } from "./map.js";
import { pathOf, serviceOf, stateOf, top } from "./model.js";

const PAGE_LEN = 50;

/** A table. A head begins with # over numbers; with ~ (numbers) or - where a phone has no room. */
function table(heads, rows) {
  const kind = { "#": "number", "~": "number spare", "-": "spare" };
  const head = heads.map((text) =>
    el("th", { scope: "col", class: kind[text[0]] }, text.replace(/^[#~-]/, "")),
  );
  return el("table", null, el("thead", null, el("tr", null, head)), el("tbody", null, rows));
}

const number = (text) => el("td", { class: "number" }, text);
const spare = (text) => el("td", { class: "number spare" }, text);

export function showSummary(place, known) {
  const { status } = known;
  if (!status) return;
  const native = status.interfaces.every(({ mode }) => mode === "native");
  show(
    place,
    `${many(status.devices_len, "device")}, ${many(status.servers_len, "server")}, `,
    `${many(status.flows.used, "flow")} of ${count(status.flows.max)} · `,
    `generation ${count(status.generation)} · running for ${span(status.uptime_ms)} · `,
    native ? "native XDP" : `XDP: ${status.interfaces.map((i) => `${i.name} ${i.mode}`).join(", ")}`,
    ` · ${known.stream === "events" ? "live by events" : "asked"} every ${span(known.periodMs)}`,
  );
}

export function showServers(place, known) {
  const rows = known.servers.map((server) => {
    const { kind, words } = stateOf(server);
    const since = server.health_since ? `since ${clock(Date.parse(server.health_since))}` : "";
    return el(
      "tr",
      { "data-key": `server ${server.name}` },
      el("th", { scope: "row" }, server.name, el("small", null, server.address)),
      el("td", { title: server.health_detail }, mark(kind), `\u00a0${words} `,
        el("small", null, kind === "dead" ? (server.health_detail ?? since) : since)),
      el("td", null, loadWords(server),
        server.load?.refusal && el("small", null, `takes none: ${server.load.refusal}`)),
      spare(count(server.devices_len)),
      number(count(server.flows_len)),
      spare(rate(known.rates.servers.get(server.name))),
      spare(typeof server.probe_ms === "number" ? `${server.probe_ms.toFixed(1)} ms` : "–"),
    );
  });
  show(place, table(
    ["Server", "State", "Load", "~Devices", "#Flows", "~To it", "~Check"], rows));
}

export function showDevices(place, more, { known, devices, pages, order }) {
  const max = pages * PAGE_LEN;
  const shown = top(devices, known.rates.devices, max, order);
  const servers = new Map(known.servers.map((server) => [server.name, server]));
  const refused = refusal();
  const rows = shown.map((device) => {
    const { server, backup, cause, changed_at: changed } = device.association;
    const health = pathOf(servers.get(server), device);
    const expected = device.traffic?.forecast?.p90;
    const requests = device.traffic?.requests_per_second;
    return el(
      "tr",
      { "data-key": `device ${device.name}` },
      el("th", { scope: "row" }, device.name,
        el("small", null, `${device.protocol} ${serviceOf(device)}`)),
      el("td", null, mark(health), ` ${server}`, health !== "healthy" && ` (${health})`),
      el("td", { class: "spare" }, backup ?? "none"),
      el("td", { class: "spare" }, cause, el("small", null, clock(Date.parse(changed)))),
      number(device.tracking === "stateless" ? "not counted" : count(device.flows_len)),
      el("td", { class: "number spare" }, rate(known.rates.devices.get(device.name)),
        typeof requests === "number" && el("small", null, perSecond(requests, "requests")),
        typeof expected === "number" && el("small", null, `expected ≤ ${rate(expected)}`)),
      el("td", null, el("button", {
        type: "button",
        "data-action": "move",
        "data-device": device.name,
        "aria-label": `Move ${device.name}`,
        title: refused,
        disabled: Boolean(refused) || device.servers.length < 2,
      }, "Move")),
    );
  });
  show(place, table(
    ["Device", "Server", "-Backup", "-Last change", "#Flows", "~Traffic", ""], rows));
  const fitting = known.isPartial ? known.fittingLen : devices.length;
  const hidden = fitting - shown.length;
  const all = known.status.devices_len;
  const filtered = known.isPartial ? all - fitting : known.devices.length - devices.length;
  const canShowMore = devices.length > shown.length;
  show(
    more,
    refused && `${refused} `,
    hidden > 0 && [
      `${many(hidden, "more device")} hidden. `,
      canShowMore
        ? el("button", { type: "button", "data-action": "more" }, "Show more")
        : "Find them by the filter.",
    ],
    filtered > 0 && ` The filter leaves out ${count(filtered)} of ${count(all)}.`,
    known.devices.length === 0 && "There is no device yet: redirector device add --help.",
  );
}

const DRAINS_MAX = 50;

export function showDrains(place, known) {
  const all = known.devices.flatMap((device) =>
    device.association.drains.map((drain) => ({ device, drain })),
  );
  const rows = all.slice(0, DRAINS_MAX).map(({ device, drain }) => {
    const { begun, flowsMax } = known.drains.get(drainKey(device, drain));
    const gone = flowsMax - drain.flows_len;
    const flows = `${count(drain.flows_len)} of ${count(flowsMax)} open`;
    const end = drain.deadline_at && Date.parse(drain.deadline_at);
    const left = end && `${span(end - Date.now())} left, until ${clock(end)}`;
    return el(
      "tr",
      { "data-key": `drain ${drainKey(device, drain)}` },
      el("th", { scope: "row" }, device.name,
        el("small", null, drain.server === device.association.server
          ? `earlier flows on ${drain.server}`
          : `${drain.server} → ${device.association.server}`)),
      el("td", null,
        el("progress", { max: Math.max(1, flowsMax), value: flowsMax > 0 ? gone : 1,
          "aria-label": `flows of ${device.name} that have ended` }),
        el("small", null, flows, drain.clients_len > 0 && `, of ${many(drain.clients_len, "client")}`,
          drain.carried && `; at most ${bytes(drain.carried.bytes_max)} carried`)),
      el("td", null,
        end ? el("progress", { max: end - begun, value: Math.max(0, Date.now() - begun),
          "aria-label": `time of the drain of ${device.name} that is over` }) : "",
        el("small", null, left || "no deadline: as long as they like")),
    );
  });
  show(
    place,
    all.length === 0
      ? el("p", { class: "note" }, "No flow drains.")
      : table(["Device", "Flows that ended", "Time"], rows),
    all.length > DRAINS_MAX &&
      el("p", { class: "note" }, `${many(all.length - DRAINS_MAX, "more drain")} not listed.`),
  );
}

const STATES = {
  none: "None has been made yet.",
  empty: "There is nothing to move.",
  proposed: "It waits for your word.",
  stale: "It was made for a state that is no more; the next one comes by itself.",
  applied: "It was carried out.",
  discarded: "It was thrown away; the next one comes by itself.",
};

export function showPlan(place, known) {
  const { plan, status } = known;
  const held = [
    ...(status?.frozen ? [{ what: "all decisions are held back", by: status.frozen }] : []),
    ...(status?.blocked ?? []),
    ...(plan?.blocked ?? []),
  ];
  const blocked = held.length > 0 && [
    el("h3", null, "What stands in the way"),
    el("ul", null, held.map(({ what, by }) => el("li", null, `${what}: ${by}`))),
  ];
  if (!plan) {
    show(place, el("p", { class: "note" },
      known.status ? "Not available: this daemon makes no plans for load." : ""), blocked);
    return;
  }
  const moves = plan.moves.map((move) =>
    el("li", { "data-key": `plan ${move.device}` },
      el("b", null, `${move.device}: ${move.from} → ${move.to}`),
      ` (${move.cause}) ${move.why} `,
      el("small", null,
        `${move.signal}: ${move.from} ${share(move.from_before)} → ${share(move.from_after)}, ` +
        `${move.to} ${share(move.to_before)} → ${share(move.to_after)}`,
        move.forecast && `; expected ≤ ${rate(move.forecast.p90)}`)),
  );
  const refused = refusal();
  const canApply = plan.state === "proposed" && plan.moves.length > 0;
  show(
    place,
    el("p", null, el("b", null, plan.mode), ` mode. ${STATES[plan.state] ?? plan.state} `,
      plan.verdict && `Verdict: ${plan.verdict}. `,
      plan.made_at && `Made at ${clock(Date.parse(plan.made_at))}. `,
      plan.moves.length > 0 &&
        `Hottest server: ${share(plan.hottest_before)} → ${share(plan.hottest_after)}.`),
    moves.length > 0 && el("ol", null, moves),
    canApply && el("div", { class: "buttons" },
      refused && el("p", { class: "note" }, refused),
      el("button", { type: "button", "data-action": "discard", disabled: Boolean(refused) },
        "Discard"),
      el("button", { type: "button", "data-action": "apply", class: "strong",
        disabled: Boolean(refused) }, "Apply…")),
    plan.refusals.length > 0 && [
      el("h3", null, "Servers that take no device for load"),
      el("ul", null, plan.refusals.map(({ server, why }) => el("li", null, `${server}: ${why}`))),
    ],
    blocked,
  );
}

export function showReasons(place, known) {
  const reasons = (known.status?.reasons ?? []).filter(({ packets }) => packets > 0);
  reasons.sort((a, b) => b.packets - a.packets);
  const all = reasons.reduce((sum, { packets }) => sum + packets, 0);
  const rows = reasons.map((reason) =>
    el("tr", { "data-key": `reason ${reason.name}` },
      el("th", { scope: "row" }, reason.name, el("small", null, reason.help)),
      number(count(reason.packets)), spare(share(reason.packets / all)),
      spare(count(reason.bytes))),
  );
  show(place, table(["Reason", "#Packets", "~Of all", "~Bytes"], rows),
    rows.length === 0 && el("p", { class: "note" }, "No packet yet."));
}
