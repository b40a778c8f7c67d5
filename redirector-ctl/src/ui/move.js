// The dialogs that change something. Each says first what becomes of open flows.

import { byId, clock, el, many, show, span } from "./dom.js";
import { ask, known, refresh } from "./feed.js";
import { refusal } from "./login.js";
import { loadWords, mark } from "./map.js";
import { fate, pathOf, stateOf, takesDevices } from "./model.js";

const dialog = byId("dialog");
let open = null;

/** How long what was done stays at the top of the page, in ms. */
const SAID_MS = 30000;
let unsay = null;

function say(text) {
  byId("said").textContent = text;
  clearTimeout(unsay);
  unsay = setTimeout(() => (byId("said").textContent = ""), SAID_MS);
}

function begin({ title, confirm, choice, preview, act }) {
  open = { preview, act };
  byId("dialog-title").textContent = title;
  byId("dialog-confirm").textContent = confirm;
  byId("dialog-error").textContent = "";
  byId("dialog-choice").replaceChildren(...choice);
  byId("dialog-confirm").disabled = false;
  dialog.showModal();
  showPreview();
}

/** Draws the preview of the open dialog by what is known now. */
export function showPreview() {
  if (!open) return;
  show(byId("dialog-preview"), open.preview());
}

const words = () => ({ many, span, clock, now: Date.now() });
const deviceOf = (name) => known.devices.find((device) => device.name === name);
const serverOf = (name) => known.servers.find((server) => server.name === name);

/** Asks where a device is to go. */
export function askMove(name) {
  const device = deviceOf(name);
  if (!device) return;
  const refused = refusal();
  if (refused) {
    say(refused);
    return;
  }
  const others = device.servers.filter((server) => server !== device.association.server);
  const fit = (server) => {
    const found = serverOf(server);
    return found?.state === "active" && pathOf(found, device) === "healthy";
  };
  const first = others.find(fit) ?? others[0];
  const targets = others.map((server) =>
    el("label", { class: "choice" },
      el("input", { type: "radio", name: "server", value: server, checked: server === first }),
      el("span", null, server, " ", targetWords(server, device))),
  );
  const own = device.on_planned;
  const policies = ["drain", "keep", "reset"].map((kind) =>
    el("option", { value: kind, selected: kind === own.kind },
      kind === own.kind ? `${kind} (the device's own)` : kind),
  );
  const minutes = Math.max(1, Math.round((own.deadline_ms ?? 3600000) / 60000));
  begin({
    title: `Move ${name}`,
    confirm: "Move",
    choice: [
      el("p", null, `${name} is on ${device.association.server}.`),
      el("fieldset", null, el("legend", null, "To which server"), targets),
      el("label", { class: "choice" }, "Open flows ",
        el("select", { id: "policy" }, policies)),
      el("label", { class: "choice", id: "deadline-label" }, "for at most ",
        el("input", { id: "deadline", type: "number", min: 1, max: 43200, value: minutes }), " min"),
    ],
    preview: () => movePreview(name),
    act: () => move(name),
  });
}

function targetWords(name, device) {
  const server = serverOf(name);
  if (!server) return "unknown";
  const { kind, words: state } = stateOf(server);
  const path = pathOf(server, device);
  return el("small", null, mark(path === "healthy" ? kind : path),
    ` ${state}${path === server.health ? "" : `; for this device ${path}`}; ${loadWords(server)}`);
}

function chosen(device) {
  const server = byId("dialog-choice").querySelector("input[name=server]:checked")?.value;
  const kind = byId("policy").value;
  const own = device.on_planned;
  byId("deadline-label").hidden = kind !== "drain";
  if (kind !== "drain") return { server, policy: { kind } };
  const minutes = Math.min(43200, Math.max(1, Number(byId("deadline").value) || 1));
  const ownMinutes = Math.max(1, Math.round((own.deadline_ms ?? 0) / 60000));
  // The device's own deadline may be finer than minutes: it is kept as it is.
  const isOwn = own.kind === "drain" && ownMinutes === minutes;
  return { server, policy: { kind, deadline_ms: isOwn ? own.deadline_ms : minutes * 60000 } };
}

function movePreview(name) {
  const device = deviceOf(name);
  if (!device) return el("p", null, `${name} is gone.`);
  const { server, policy } = chosen(device);
  const from = device.association.server;
  const target = serverOf(server);
  const isCounted = device.tracking !== "stateless";
  const path = pathOf(target, device);
  const elsewhere = device.association.drains.filter((drain) => drain.flows_len > 0);
  const drained = elsewhere.reduce((sum, drain) => sum + drain.flows_len, 0);
  byId("dialog-confirm").textContent = `Move ${name} to ${server}`;
  return el("ul", null,
    el("li", null, `New flows of ${name} go to ${server} at once.`),
    el("li", { id: "fate" }, isCounted
      ? fate(device.flows_by_server[from] ?? 0, from, policy, words())
      : `Open flows on ${from} are not counted (tracking stateless); policy: ${policy.kind}.`),
    drained > 0 && el("li", null, `${many(drained, "flow")} of earlier moves go on draining.`),
    path !== "healthy" && el("li", { class: "warning" },
      `${server} is ${path} for ${name}: clients may find nobody there.`),
    target && !takesDevices(target) && el("li", { class: "warning" },
      `${server} is ${target.state}: the daemon may refuse.`));
}

async function move(name) {
  const { server, policy } = chosen(deviceOf(name));
  const path = `/v1/associations/${encodeURIComponent(name)}`;
  const body = { server, policy };
  const answer = await ask(path, { method: "PUT", body, seen: known.generation });
  return `${name} is on ${server} now (generation ${answer.body.generation}).`;
}

/** Asks whether the plan is to be carried out. */
export function askApply() {
  const { plan } = known;
  const made = plan?.generation;
  begin({
    title: "Apply the plan",
    confirm: many(plan.moves.length, "move"),
    choice: [el("p", null, "All of its moves are made in one step.")],
    preview: () =>
      el("ul", null, plan.moves.map((one) => {
        const device = deviceOf(one.device);
        const flows = device?.flows_by_server[one.from] ?? 0;
        return el("li", null, el("b", null, `${one.device}: ${one.from} → ${one.to}. `),
          device ? fate(flows, one.from, device.on_overload, words())
            : known.isPartial ? "Open flows: as the device says." : "It is gone.");
      })),
    act: async () => {
      await ask("/v1/plan/apply", { method: "POST", body: {}, seen: made });
      return `The plan was carried out: ${many(plan.moves.length, "move")}.`;
    },
  });
}

/** Throws the plan away: nothing moves, so nothing is asked. */
export async function discard() {
  try {
    await ask("/v1/plan/discard", { method: "POST", body: {}, seen: known.plan?.generation });
    say("The plan was thrown away.");
  } catch (error) {
    say(`The plan was not thrown away: ${error.message}`);
  }
  refresh();
}

async function confirm(event) {
  event.preventDefault();
  byId("dialog-confirm").disabled = true;
  try {
    say(await open.act());
    dialog.close();
  } catch (error) {
    const isStale = error.status === 412;
    byId("dialog-error").textContent = isStale
      ? "Something has changed since this was drawn. Look at the preview again, then repeat."
      : `Nothing was changed: ${error.message}`;
    if (dialog.open) byId("dialog-confirm").disabled = false;
  }
  refresh();
}

byId("dialog-form").addEventListener("submit", confirm);
byId("dialog-form").addEventListener("input", showPreview);
byId("dialog-cancel").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => (open = null));
