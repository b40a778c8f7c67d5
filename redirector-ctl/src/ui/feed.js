// What the page knows: asked of the API again and again, at once when an event says so.

import { askForToken, credentials, noteCaller } from "./login.js";
import { listen } from "./stream.js";

/** Time from one round to the next, in ms; longer where answers are long in coming. */
const PERIOD_MS = 2000;
/** From an event to the round that it asks for, in ms. */
const SOON_MS = 200;
/** No answer for this long is said aloud, in ms. */
const STALE_MS = 6000;
/** An answer that takes longer counts as none, in ms. */
const ANSWER_MS = 15000;
/** Rounds until something that is not available is asked for again. */
const MISSING_ROUNDS = 15;
/** The status of an answer to somebody who is not known. */
const UNKNOWN = 401;
const EVENTS_MAX = 1000;
/** Points that the page keeps of its own, about half an hour. */
const SEEN_MAX = 900;
/** Beyond this many devices the page asks for those that it shows, and keeps no points of them. */
const DEVICES_MAX = 500;
/** Devices that drain, asked for besides then. */
const DRAINING_MAX = 50;

/** Everything known. Times are ms since the Unix epoch. */
export const known = {
  status: null,
  servers: [],
  devices: [],
  /** How many devices fit the filter; more than there are in `devices` if `isPartial`. */
  fittingLen: 0,
  isPartial: false,
  plan: null,
  events: [],
  generation: null,
  answeredAt: null,
  fault: null,
  stream: "polling",
  /** Bytes a second by device and to each server, over the last rounds. */
  rates: { devices: new Map(), servers: new Map() },
  /** What this page saw since it was opened, for daemons that keep no history. */
  seen: [],
  /** When and with how many flows this page first saw each drain. */
  drains: new Map(),
};

/** What is wanted of the devices where not all of them are asked for. */
export const wish = { search: "", order: "name" };

/** A refusal of the API: its words are for people. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `the daemon answered with status ${status}`);
    this.status = status;
    this.code = problem?.code;
  }
}

/** Asks the API. Throws a Refusal, or a plain error when there is no answer. */
export async function ask(path, { method = "GET", body, seen } = {}) {
  const headers = { accept: "application/json", ...credentials() };
  if (body) headers["content-type"] = "application/json";
  if (seen !== undefined) headers["if-match"] = `"${seen}"`;
  const response = await fetch(path, {
    method,
    headers,
    body: body && JSON.stringify(body),
    cache: "no-store",
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, answer);
  return { body: answer, generation: Number(response.headers.get("etag")?.replaceAll('"', "")) };
}

/** Whether a refusal means that this daemon does not have the resource at all. */
export const isMissing = (error) => error instanceof Refusal && error.code === "unknown_resource";

const missing = new Map();
let round = 0;

/** The body of a resource that a daemon may lack; null then. */
export async function askIfThere(path) {
  const resource = path.split("?")[0];
  if (round < (missing.get(resource) ?? 0)) return null;
  try {
    return (await ask(path)).body;
  } catch (error) {
    if (!isMissing(error)) throw error;
    missing.set(resource, round + MISSING_ROUNDS);
    return null;
  }
}

let wake = () => {};

/** Begins the next round soon. */
export const refresh = () => wake();

/** Whether what is shown is too old to be taken for the present; then its age in ms. */
export function staleness() {
  if (known.answeredAt === null) return known.fault ? Infinity : null;
  const age = Date.now() - known.answeredAt;
  return known.fault || age > Math.max(STALE_MS, 3 * known.periodMs) ? age : null;
}

/** Asks for ever, and calls `changed` after each round. */
export async function follow(changed) {
  for (;;) {
    const begun = performance.now();
    try {
      await takeAll();
      known.fault = null;
      openStream();
    } catch (error) {
      if (error.status === UNKNOWN) {
        forget();
        await askForToken(error.message);
        continue;
      }
      known.fault = error instanceof Refusal ? error.message : "no answer from the daemon";
    }
    round += 1;
    const tookMs = performance.now() - begun;
    known.periodMs = Math.max(PERIOD_MS, 5 * tookMs);
    changed();
    await new Promise((resolve) => {
      setTimeout(resolve, known.periodMs);
      // Many events in a row are one reason to look, and leave the daemon time for others.
      wake = () => setTimeout(resolve, Math.max(SOON_MS, tookMs));
    });
    if (document.hidden) await shown();
  }
}

const shown = () =>
  new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));

/** Whoever comes next may be somebody else. */
function forget() {
  Object.assign(known, { status: null, servers: [], devices: [], plan: null, events: [] });
  Object.assign(known, { answeredAt: null, fault: null, hasCaller: false });
  samples.length = 0;
}

async function takeAll() {
  // Alone and first, so that whoever is not known is told so once.
  if (!known.hasCaller) noteCaller(await askIfThere("/v1/caller"));
  known.hasCaller = true;
  const [status, servers, devices, plan] = await Promise.all([
    ask("/v1/status"),
    ask("/v1/servers?brief=true"),
    askDevices(),
    askIfThere("/v1/plan"),
  ]);
  if (known.status && known.status.started_at !== status.body.started_at) {
    // Numbers of events and counters may begin anew with each life of the daemon.
    known.events = [];
    samples.length = 0;
  }
  known.status = status.body;
  known.servers = servers.body.items;
  known.devices = devices.items;
  known.fittingLen = devices.total;
  known.isPartial = devices.isPartial;
  known.generation = devices.generation;
  known.plan = plan;
  known.answeredAt = Date.now();
  await takeEvents();
  measure();
  noteDrains();
}

/** All devices; where there are too many, those that are wanted and those that drain. */
async function askDevices() {
  const { body, generation } = await ask(`/v1/devices?limit=${DEVICES_MAX}`);
  if (body.total <= body.items.length) return { ...body, generation, isPartial: false };
  const query = new URLSearchParams({ limit: DEVICES_MAX, ...wish });
  const [wanted, draining] = await Promise.all([
    ask(`/v1/devices?${query}`),
    ask(`/v1/devices?draining=true&limit=${DRAINING_MAX}`),
  ]);
  const all = new Map([...draining.body.items, ...wanted.body.items].map((one) => [one.name, one]));
  const items = [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { items, total: wanted.body.total, generation: wanted.generation, isPartial: true };
}

async function takeEvents() {
  const after = known.events.at(-1)?.id ?? 0;
  const { body } = await ask(`/v1/events?after=${after}&limit=${EVENTS_MAX}`);
  const fresh = body.items.filter((event) => event.id > (known.events.at(-1)?.id ?? 0));
  known.events = [...known.events, ...fresh].slice(-EVENTS_MAX);
}

const samples = [];

function measure() {
  const total = (device) => device.to_server.bytes + device.to_client.bytes;
  samples.push({
    at: performance.now(),
    devices: new Map(known.devices.map((device) => [device.name, total(device)])),
    servers: new Map(known.servers.map((server) => [server.name, server.bytes])),
  });
  if (samples.length > 4) samples.shift();
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = (last.at - first.at) / 1000;
  const rates = (now, then) => {
    const grown = (name, bytes) => {
      const before = then.get(name);
      return before !== undefined && bytes >= before && seconds > 0.5
        ? (bytes - before) / seconds
        : null;
    };
    return new Map([...now].map(([name, bytes]) => [name, grown(name, bytes)]));
  };
  known.rates.devices = rates(last.devices, first.devices);
  known.rates.servers = rates(last.servers, first.servers);
  for (const { name, traffic } of known.devices) {
    if (typeof traffic?.bytes_per_second === "number") {
      known.rates.devices.set(name, traffic.bytes_per_second);
    }
  }
  const keepDevices = known.devices.length <= DEVICES_MAX;
  known.seen.push({
    at: known.answeredAt,
    servers: known.rates.servers,
    devices: keepDevices ? known.rates.devices : new Map(),
  });
  if (known.seen.length > SEEN_MAX) known.seen.shift();
}

export const drainKey = (device, drain) => `${device.name} ${drain.server} ${drain.epoch}`;

function noteDrains() {
  const still = new Map();
  for (const device of known.devices) {
    const last = device.association.drains.at(-1);
    for (const drain of device.association.drains) {
      const key = drainKey(device, drain);
      // The last drain began with the present association; of earlier ones nobody tells the begin.
      const begun = drain === last ? Date.parse(device.association.changed_at) : known.answeredAt;
      const before = known.drains.get(key) ?? { begun, flowsMax: 0 };
      const flowsMax = Math.max(before.flowsMax, drain.flows_len);
      still.set(key, { begun: before.begun, flowsMax });
    }
  }
  known.drains = still;
}

/** Time from one attempt at the event stream to the next, in ms. */
const STREAM_MS = 60000;

let isListening = false;
let streamTriedAt = -Infinity;

/** Follows the event stream, if the daemon has one. Polling goes on: figures are no events. */
async function openStream() {
  if (isListening || performance.now() - streamTriedAt < STREAM_MS) return;
  streamTriedAt = performance.now();
  isListening = true;
  const opened = () => (known.stream = "events");
  await listen(known.events.at(-1)?.id ?? 0, { opened, told: refresh });
  isListening = false;
  known.stream = "polling";
}
