// Elements, numbers and times. Nothing here knows what is shown.

const SVG = "http://www.w3.org/2000/svg";

function make(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return node;
}

export const el = (tag, attributes, ...children) =>
  make(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) =>
  make(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

/**
 * Gives `place` these children. Elements that are still wanted (the same `data-key`, else the same
 * place and tag) stay the elements they are, so that focus and selection outlive a redraw.
 */
export function show(place, ...children) {
  const focused = document.activeElement;
  morphChildren(place, el("div", null, ...children));
  if (focused !== document.activeElement && focused?.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = wanted.dataset?.key;
    let found = key ? keyed.get(key) : at;
    if (!found || found.nodeName !== wanted.nodeName || found.dataset?.key !== key) found = null;
    if (!found) {
      old.insertBefore(wanted, at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else old.insertBefore(found, at);
    morph(found, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function morph(old, wanted) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, wanted);
}

export const count = (number) => number.toLocaleString("en");
export const many = (number, one) => `${count(number)} ${one}${number === 1 ? "" : "s"}`;
export const share = (value) => `${Math.round(value * 100)}\u00a0%`;

/** Bytes a second. */
export const rate = (value) =>
  value === null || value === undefined ? "–" : `${bytes(value)}/s`;

/** How many a second: with a tenth while they are few. */
export const perSecond = (value, one) =>
  `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 })} ${one}/s`;

/** Bytes, in steps of 1000. */
export function bytes(value) {
  let step = 0;
  while (value >= 999.5 && step < 4) {
    value /= 1000;
    step += 1;
  }
  const digits = value < 9.95 && step > 0 ? 1 : 0;
  return `${value.toFixed(digits)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
}

/** A span of time in the two largest units that people say. */
export function span(ms) {
  let rest = Math.max(0, Math.round(ms / 1000));
  const parts = [];
  for (const [unit, len] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (rest >= len) parts.push(`${Math.floor(rest / len)} ${unit}`);
    rest %= len;
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

/** The time of day; with the date when it is not today's. */
export function clock(ms) {
  const at = new Date(ms);
  const time = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date().toDateString()
    ? time
    : `${at.toLocaleDateString("en-CA")} ${time}`;
}
