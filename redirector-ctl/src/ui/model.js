// What follows from what is known. Pure: no element, no clock, no request.

/** Of a server: the one word for its state, and all words for it. Death outweighs intent. */
export function stateOf(server) {
  const { state, health } = server;
  const kind =
    health === "dead" || health === "suspect" ? health : state !== "active" ? state : health;
  return { kind, words: state === "active" ? health : `${health}, ${state}${fillOf(server)}` };
}

/** Of a server that fills: its part of what others are filled to now. */
const fillOf = ({ filling }) => (filling ? ` ${Math.round(filling.part_max * 100)} %` : "");

/** Whether a server may take devices, as far as its state goes. */
export const takesDevices = ({ state }) => state === "active" || state === "filling";

/** A device's health on a server that may serve it. */
export const pathOf = (server, device) => server?.paths?.[device.name] ?? server?.health;

/** Those whose names or addresses hold every word of `text`. */
export function matching(devices, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return devices;
  return devices.filter((device) => {
    const drains = device.association.drains.map((drain) => drain.server);
    const all = [device.name, serviceOf(device), device.association.server, ...drains];
    const line = all.join(" ").toLowerCase();
    return words.every((word) => line.includes(word));
  });
}

export function serviceOf(device) {
  const address = device.address.includes(":") ? `[${device.address}]` : device.address;
  return device.port ? `${address}:${device.port}` : address;
}

const weight = (rates, device) => (rates.get(device.name) ?? 0) + device.flows_len;

/** The first `max` by `order`. Devices come by name, and a sort keeps that order among equals. */
export function top(devices, rates, max, order = "name") {
  if (order === "name") return devices.slice(0, max);
  const figure = order === "flows" ? (one) => one.flows_len : (one) => weight(rates, one);
  return [...devices].sort((a, b) => figure(b) - figure(a)).slice(0, max);
}

/** The busiest devices, those of one server together, as the map draws them. */
export function drawn(devices, servers, rates, max) {
  const place = new Map(servers.map((server, index) => [server.name, index]));
  const at = (device) => place.get(device.association.server) ?? servers.length;
  const busiest = new Set(top(devices, rates, max, "traffic"));
  return devices.filter((device) => busiest.has(device)).sort((a, b) => at(a) - at(b));
}

/** What of a device is on a server: its flows there, and that part of its traffic. */
function partAt(device, server, rates) {
  const isAll = device.flows_len === 0 && device.association.server === server;
  const flows = device.flows_by_server[server] ?? 0;
  const part = device.flows_len > 0 ? flows / device.flows_len : Number(isAll);
  return { name: device.name, flows, rate: (rates.get(device.name) ?? 0) * part };
}

/** For each server what is on it of each device, also of devices that drain there. */
export function shares(devices, rates) {
  const all = new Map();
  for (const device of devices) {
    const servers = new Set([device.association.server, ...Object.keys(device.flows_by_server)]);
    for (const server of servers) {
      if (!all.has(server)) all.set(server, []);
      all.get(server).push(partAt(device, server, rates));
    }
  }
  return all;
}

/**
 * How a server's bar is divided: each device's part of what the server does, largest first and the
 * smallest taken together; by traffic, or by flows while there is none.
 */
export function parts(onIt, max) {
  const by = (figure) => {
    const sum = onIt.reduce((total, one) => total + one[figure], 0);
    return sum > 0 ? onIt.map((one) => ({ name: one.name, part: one[figure] / sum })) : null;
  };
  const all = by("rate") ?? by("flows") ?? [];
  all.sort((a, b) => b.part - a.part);
  const rest = all.slice(max).reduce((total, { part }) => total + part, 0);
  const shown = all.slice(0, max).filter(({ part }) => part > 0);
  return rest > 0 ? [...shown, { name: "others", part: rest }] : shown;
}

/** What becomes of open flows under a policy, in a sentence. */
export function fate(flowsLen, server, policy, words) {
  if (flowsLen === 0) return `No open flow on ${server}: nothing is interrupted.`;
  const flows = `${words.many(flowsLen, "open flow")} on ${server}`;
  if (policy.kind === "keep") return `${flows}: kept there for as long as their clients like.`;
  if (policy.kind === "reset") {
    return `${flows}: reset with their next packet. Their clients lose these connections.`;
  }
  return (
    `${flows}: drained. They stay there for at most ${words.span(policy.deadline_ms)}, ` +
    `until ${words.clock(words.now + policy.deadline_ms)}; what is still open then is reset.`
  );
}
