// Who looks at the page: the token, which this tab alone keeps, and what its holder may do.

import { byId } from "./dom.js";

const KEPT_AS = "redirector-token";
/** Roles from the least one. */
const ROLES = ["viewer", "operator", "admin"];

/** For whom the daemon takes us; null until it has said so. */
let caller = null;
let entered = () => {};

/** What a request shows, if there is anything to show. */
export function credentials() {
  const token = sessionStorage.getItem(KEPT_AS);
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Takes in for whom the daemon takes us. */
export function noteCaller(answer) {
  caller = answer;
  byId("caller").hidden = !caller?.name;
  byId("caller-name").textContent = caller?.name ? `${caller.name} (${caller.role})` : "";
}

/** Who may move something, and say the word for a plan. */
const MOVER = "operator";

/** Why we may not move anything; null if we may. */
export function refusal() {
  if (!caller || ROLES.indexOf(caller.role) >= ROLES.indexOf(MOVER)) return null;
  return `Your role is ${caller.role}: moving needs ${MOVER}.`;
}

/** Shows the question for a token, and waits for one. Nothing of the site stays to be seen. */
export function askForToken(why) {
  const had = sessionStorage.getItem(KEPT_AS);
  sessionStorage.removeItem(KEPT_AS);
  noteCaller(null);
  document.body.classList.add("locked");
  byId("login").hidden = false;
  byId("login-error").textContent = had ? why : "";
  byId("token").value = "";
  byId("token").focus();
  return new Promise((resolve) => (entered = resolve));
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  if (!token) return;
  sessionStorage.setItem(KEPT_AS, token);
  byId("token").value = "";
  byId("login").hidden = true;
  document.body.classList.remove("locked");
  entered();
});

byId("logout").addEventListener("click", () => {
  sessionStorage.removeItem(KEPT_AS);
  // Everything that was shown goes with the page.
  location.reload();
});
