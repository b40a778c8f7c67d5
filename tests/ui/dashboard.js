// Drives the dashboard in a real browser, step by step: reads a step's name from each line of
// standard input (and, behind a space, what it is about), answers `done NAME` or `failed NAME: why`. tests/tests/dashboard.rs does to the
// site what has to happen between the steps. Arguments: the page's address, a directory for the
// screenshots.

import assert from "node:assert/strict";
import path from "node:path";
import readline from "node:readline";
import { chromium } from "playwright-core";

const [url, pictures] = process.argv.slice(2);
const WAIT_MS = 30000;
const complaints = [];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // The harness is root, and chromium's sandbox refuses that; it sees no page but ours.
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
const page = await browser.newPage({
  viewport: { width: 1280, height: 900 },
  colorScheme: "light",
  // The authority is the test's own; that a wrong one is refused is tested without a browser.
  ignoreHTTPSErrors: true,
});
page.setDefaultTimeout(WAIT_MS);
page.on("pageerror", (error) => complaints.push(`the page threw ${error.message}`));
page.on("console", (message) => {
  if (/content security policy/i.test(message.text())) complaints.push(message.text());
});

const shot = (name) => page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });
const see = (place, text) => page.locator(place, { hasText: text }).first().waitFor();
const node = (name) => page.locator(`#map .device[data-device="${name}"]`);
const focused = () =>
  page.evaluate(() => {
    const { activeElement: at } = document;
    const outline = getComputedStyle(at).outlineStyle;
    const drawn = at.querySelector?.("rect");
    const stroke = drawn ? getComputedStyle(drawn).strokeWidth : null;
    // Behind the last element comes the browser itself, and then the page anew.
    const isVisible = outline !== "none" || stroke === "3px" || at === document.body;
    return { id: at.id, device: at.dataset.device, isVisible };
  });

/** Presses Tab until the focus is where it is wanted; it must be visible at every stop. */
async function tabTo(what, isThere) {
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press("Tab");
    const at = await focused();
    assert.ok(at.isVisible, `the focus cannot be seen at ${JSON.stringify(at)}`);
    if (isThere(at)) return;
  }
  assert.fail(`80 presses of Tab do not lead to ${what}`);
}

const kept = () => page.evaluate(() => sessionStorage.getItem("redirector-token"));

async function logIn(token) {
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
}

/** What is drawn does not grow with the number of devices. */
async function bounded() {
  const counts = await page.evaluate(() => ({
    elements: document.querySelectorAll("*").length,
    drawn: document.querySelectorAll("#map .device").length,
    listed: document.querySelectorAll("#devices [data-device]").length,
  }));
  const { elements, drawn, listed } = counts;
  assert.ok(drawn <= 24 && listed <= 50 && elements < 4000, JSON.stringify(counts));
}

const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

const steps = {
  async look() {
    await page.goto(url);
    for (const device of ["disk", "archive"]) await node(device).waitFor();
    await see("#map .server", "s1");
    await see("#map .server", "s2");
    await see("#servers td", "healthy");
    await see("#reasons th", "established");
    await see("#plan", /Not available|mode\./);
    await see("#drains", "No flow drains");
    await see("#map .device", "3 flows");
    await shot("look-light");
  },

  async dark() {
    const light = await background();
    await page.emulateMedia({ colorScheme: "dark" });
    assert.notEqual(await background(), light, "dark looks like light");
    await shot("look-dark");
    await page.emulateMedia({ colorScheme: "light" });
  },

  async phone() {
    await page.setViewportSize({ width: 360, height: 740 });
    await page.locator('#map svg[width="360"], #map svg').first().waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `a phone of 360 pixels has to scroll sideways over ${width}`);
    await shot("phone");
    await page.locator('#devices [data-device="disk"]').click();
    await page.locator("#dialog").waitFor();
    await shot("phone-dialog");
    await page.keyboard.press("Escape");
    await page.setViewportSize({ width: 1280, height: 900 });
  },

  async filter() {
    await page.fill("#filter", "arch");
    await node("disk").waitFor({ state: "detached" });
    await see("#devices-more", "leaves out 1 of 2");
    await page.fill("#filter", "");
    await node("disk").waitFor();
  },

  async move() {
    await page.locator('#devices [data-device="disk"]').click();
    await see("#dialog-title", "Move disk");
    await see("#fate", /3 open flows on s1: drained\. They stay there for at most 1 h/);
    await page.selectOption("#policy", "reset");
    await see("#fate", /3 open flows on s1: reset/);
    await page.selectOption("#policy", "drain");
    await see("#dialog-confirm", "Move disk to s2");
    await shot("move-preview");
    await page.click("#dialog-confirm");
    await see("#said", "disk is on s2 now");
    await see("#events li.move", "device disk moved from s1 to s2");
  },

  async drain() {
    await see("#drains tr", /disk.*s1 → s2/s);
    await see("#drains tr", "3 of 3 open");
    await see("#drains tr", /of \d+ clients?; at most .* carried/);
    await see("#drains tr", /59 min .* left/);
    await page.locator("#map path.link.drain").waitFor({ state: "attached" });
    await shot("drain");
  },

  async drained() {
    await see("#drains tr", "1 of 3 open");
  },

  async keyboard() {
    await page.evaluate(() => document.activeElement.blur());
    await tabTo("device disk in the map", ({ device, id }) => device === "disk" && !id);
    await page.keyboard.press("Enter");
    await page.locator("#dialog[open]").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#dialog[open]").waitFor({ state: "detached" });
    assert.equal((await focused()).device, "disk", "the focus did not come back from the dialog");
    await page.keyboard.press("Space");
    await page.locator("#dialog[open]").waitFor();
    await tabTo("the word to do it", ({ id }) => id === "dialog-confirm");
    await page.keyboard.press("Enter");
    await see("#said", "disk is on s1 now");
  },

  async stale() {
    const api = (path, method = "GET", body) =>
      page.evaluate(
        ([path, method, body]) =>
          fetch(path, {
            method,
            headers: { "content-type": "application/json" },
            body: body && JSON.stringify(body),
          }).then((answer) => answer.json()),
        [path, method, body],
      );
    // A dialog is about what the page knew when it was opened.
    await see("#devices tr", /disk.*s1.*s2/s);
    await page.locator('#devices [data-device="disk"]').click();
    await see("#dialog-confirm", "Move disk to s2");
    // What the page knows gets old while somebody else makes a change.
    const held = [];
    const lists = /\/v1\/devices\?/;
    await page.route(lists, (route) => held.push(route));
    await api("/v1/associations/archive", "PUT", { server: "s1" });
    await page.click("#dialog-confirm");
    await see("#dialog-error", "Something has changed since this was drawn. Look at the preview again");
    const { association } = await api("/v1/devices/disk");
    assert.equal(association.server, "s1", "disk was moved under a stale preview");
    await shot("stale-preview");
    // Those that the page has given up meanwhile are over.
    await Promise.allSettled(held.map((route) => route.continue()));
    await page.unroute(lists);
    await see("#events li.move", "device archive moved from s2 to s1");
    await page.click("#dialog-confirm");
    await see("#said", "disk is on s2 now");
    for (const [device, server] of [["archive", "s2"], ["disk", "s1"]]) {
      await api(`/v1/associations/${device}`, "PUT", { server });
    }
    await see("#events li.move", "device disk moved from s2 to s1");
  },

  async failover() {
    await see("#map .server.dead", "s1");
    await see("#map .server.dead", "dead");
    await see("#events li.failover", "device disk moved from s1 to s2 (failure)");
    await see("#devices tr", /disk.*s2.*failure/s);
    await shot("failover");
  },

  async timeline() {
    const marks = (kind) => page.locator(`#timeline path.event.${kind} title`);
    await marks("failover").first().waitFor({ state: "attached" });
    const failovers = (await marks("failover").allTextContents()).join("\n");
    assert.match(failovers, /\d device disk moved from s1 to s2 \(failure\)/);
    const moves = (await marks("move").allTextContents()).join("\n");
    assert.match(moves, /\d device disk moved from s1 to s2 \(planned\)/);
    const words = await page.locator("#timeline svg").getAttribute("aria-label");
    assert.match(words, /^Events of the last .*: move: \d+, failover: [12], drain ended: \d+$/);
    // The mark of what came last is the rightmost, and within the drawing.
    const places = await page.locator("#timeline path.event:has(title)").evaluateAll((paths) =>
      paths.map((path) => Number(path.getAttribute("transform").match(/[\d.]+/)[0])));
    const width = Number(await page.locator("#timeline svg").getAttribute("width"));
    assert.ok(places.every((x) => x >= 100 && x <= width), `marks at ${places} of ${width}`);
    assert.equal(await marks("server_dead").count(), 0);
    await page.check("#all-events");
    await marks("server_dead").first().waitFor({ state: "attached" });
    await shot("timeline");
    await page.uncheck("#all-events");
  },

  async lost() {
    await see("#banner", /Not live\..*no answer from the daemon.*All below is as it was at/s);
    await see("#banner", /\(\d+ s old\)/);
    await node("disk").waitFor();
    await shot("no-daemon");
    await page.locator('#devices [data-device="archive"]').click();
    await page.click("#dialog-confirm");
    await see("#dialog-error", "Nothing was changed");
    await page.keyboard.press("Escape");
  },

  async locked() {
    await page.goto(url);
    await page.locator("#login").waitFor();
    assert.equal(await page.locator("#login-error").textContent(), "");
    await page.locator("main").waitFor({ state: "hidden" });
    const text = await page.evaluate(() => document.body.textContent);
    assert.ok(!/disk|archive|10\.1\.0/.test(text), `the page tells of the site: ${text}`);
    assert.equal((await focused()).id, "token", "the token is not where one types");
    await shot("login");
  },

  async wrong() {
    await logIn("rdr_wrong");
    await see("#login-error", "the token is not known here");
    await page.locator("main").waitFor({ state: "hidden" });
    assert.equal(await kept(), null, "a wrong token is kept");
    await shot("login-wrong");
  },

  async viewer(token) {
    await logIn(token);
    await see("#caller-name", "a-viewer (viewer)");
    await node("disk").waitFor();
    await see("#summary", "live by events");
    await page.locator('#devices [data-device="disk"]:disabled').waitFor();
    await see("#devices-more", "Your role is viewer: moving needs operator.");
    await node("disk").click();
    await see("#said", "Your role is viewer");
    assert.equal(await page.locator("#dialog[open]").count(), 0, "a viewer is asked where to move");
    await shot("viewer");
    await page.reload();
    await see("#caller-name", "a-viewer");
    const elsewhere = await page.evaluate(() => [document.cookie, localStorage.length, location.href]);
    assert.deepEqual(elsewhere, ["", 0, url], "the token is kept elsewhere, too");
  },

  async logout() {
    await page.click("#logout");
    await page.locator("#login").waitFor();
    assert.equal(await kept(), null);
    await page.locator("main").waitFor({ state: "hidden" });
  },

  async operator(token) {
    await logIn(token);
    await see("#caller-name", "a-operator (operator)");
    await page.locator('#devices [data-device="disk"]:enabled').waitFor();
  },

  async plan() {
    await see("#plan", "It waits for your word.");
    await see("#plan li b", /: s1 → s2/);
    await shot("plan");
  },

  async history() {
    for (const [of, unit] of [["server s1", /now \d+\s%, expected/], ["device disk", /now .*B\/s, expected/]]) {
      await page.selectOption("#history-of", of);
      // A line begins with its second point, and is drawn anew with each.
      for (const what of ["measured", "band"]) {
        await page.waitForFunction(
          (path) => document.querySelector(path)?.getBBox().width > 0,
          `#history path.${what}[d*="L"]`,
        );
      }
      await see("#history .note", of.split(" ")[1]);
      await see("#history .note", unit);
    }
    await see("#devices tr", /disk.*[1-9]\d* requests\/s/s);
    await shot("history");
  },

  async discard() {
    // Plans are made anew all the time, and one may have just been made for another state.
    for (let tries = 1; ; tries += 1) {
      await page.locator('#plan [data-action="discard"]').click();
      await see("#said", /The plan was/);
      const said = await page.locator("#said").textContent();
      if (said === "The plan was thrown away.") break;
      assert.ok(tries < 10, `ten times: ${said}`);
    }
    assert.equal(await page.locator("#events li.move", { hasText: "overload" }).count(), 0);
    await see("#plan", "It waits for your word.");
  },

  async apply() {
    // Plans are made anew all the time; one that is no more is refused, and asked for again.
    for (let tries = 1; ; tries += 1) {
      await page.locator('#plan [data-action="apply"]').click();
      await see("#dialog-title", "Apply the plan");
      await see("#dialog-preview li", /s1 → s2\. 1 open flow on s1: kept there/);
      await shot("plan-preview");
      await page.click("#dialog-confirm");
      const said = page.locator("#said", { hasText: "The plan was carried out: 1 move." });
      const refused = page.locator("#dialog-error:not(:empty)");
      await said.or(refused).first().waitFor();
      if ((await said.count()) > 0) break;
      assert.ok(tries < 10, `ten times: ${await refused.textContent()}`);
      await page.keyboard.press("Escape");
    }
    await see("#events li.move", /moved from s1 to s2 \(overload\)/);
    await shot("plan-applied");
  },

  async withdrawn() {
    await page.locator("#login").waitFor();
    await see("#login-error", "the token is not known here");
    await page.locator("main").waitFor({ state: "hidden" });
  },

  async blank() {
    await page.goto("about:blank");
  },

  async many() {
    await page.goto(url);
    await page.locator("#map .device").first().waitFor();
    await see("#devices-more", /hidden/);
    await bounded();
  },

  async find(all) {
    await see("#summary", `${all} devices`);
    await see("#legend", `of ${all} devices`);
    await shot("many");
    await page.fill("#filter", "d03001");
    await page.locator('#devices [data-device="d03001"]').waitFor();
    await see("#devices-more", `of ${all}.`);
    await bounded();
    await shot("many-found");
  },

  async back() {
    await page.locator("#banner").waitFor({ state: "hidden" });
    await see("#map .device", "disk");
    await shot("recovered");
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, about] = line.split(" ");
  try {
    complaints.length = 0;
    await steps[name](about);
    assert.deepEqual(complaints, []);
    console.log(`done ${name}`);
  } catch (error) {
    await shot(`failed-${name}`).catch(() => {});
    console.log(`failed ${name}: ${String(error.message).replaceAll("\n", " ")}`);
  }
}
await browser.close();
