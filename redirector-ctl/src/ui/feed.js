// What the page knows: asked of the API again and again, at once when an event says so.

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
const EVENTS_MAX = 1000;
/** Points that the page keeps of its own, about half an hour. */
const SEEN_MAX = 900;
/** Beyond this many devices the page keeps no points of them. */
const SEEN_DEVICES_MAX = 500;

/** Everything known. Times are ms since the Unix epoch. */
export const known = {
  status: null,
  servers: [],
  devices: [],
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
  const headers = { accept: "application/json" };
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

async function takeAll() {
  const [status, servers, devices, plan] = await Promise.all([
    ask("/v1/status"),
    ask("/v1/servers"),
    ask("/v1/devices"),
    askIfThere("/v1/plan"),
  ]);
  if (known.status && known.status.started_at !== status.body.started_at) {
    // Numbers of events and counters may begin anew with each life of the daemon.
    known.events = [];
    samples.length = 0;
  }
  known.status = status.body;
  known.servers = servers.body.items;
  known.devices = devices.body.items;
  known.generation = devices.generation;
  known.plan = plan;
  known.answeredAt = Date.now();
  await takeEvents();
  measure();
  noteDrains();
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
  const keepDevices = known.devices.length <= SEEN_DEVICES_MAX;
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

let stream = null;
let streamTriedAt = -Infinity;

/** Follows the event stream, if the daemon has one. Polling goes on: figures are no events. */
function openStream() {
  const isOpen = stream && stream.readyState !== EventSource.CLOSED;
  if (isOpen || performance.now() - streamTriedAt < STREAM_MS) return;
  streamTriedAt = performance.now();
  stream = new EventSource(`/v1/events?after=${known.events.at(-1)?.id ?? 0}`);
  stream.onopen = () => (known.stream = "events");
  stream.onerror = () => (known.stream = "polling");
  stream.onmessage = refresh;
  stream.addEventListener("lost", refresh);
  stream.addEventListener("end", refresh);
}
