//! Very many devices and flows: how long pages, commands and changes take, how long the control
//! loop's turns are, and how soon the devices of a server that dies are served by another one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::Outcome;
use crate::api::Api;
use crate::browser::Browser;
use crate::data_path::Version;
use crate::greeters::{API, Greeters, echo};
use crate::many_flows::copy_flow;
use crate::report::Row;
use crate::wait::{self, Look, Pace};

/// Numbers of devices that are worth reporting.
pub const SIZES: [u32; 3] = [1_000, 10_000, 100_000];
/// Open flows.
pub const FLOWS_LEN: u32 = 1_000_000;
/// How often each question is asked.
const ASKED: usize = 20;
/// Moves one after the other.
const MOVES: usize = 10;
/// From the first change to all of the checks.
const HEALTHY_WITHIN: Duration = Duration::from_secs(900);
/// How often somebody looks how far they are, as a person would.
const LOOKED_EVERY: Duration = Duration::from_secs(1);
/// From a death to the end of everything that follows from it.
const MOVED_WITHIN: Duration = Duration::from_secs(180);

/// What is asked of the API, with the name of its row.
const QUESTIONS: [(&str, &str); 10] = [
    ("status", "/v1/status"),
    ("devices_first", "/v1/devices?limit=1000"),
    ("devices_later", "/v1/devices?limit=1000&cursor=d00500"),
    ("devices_search", "/v1/devices?limit=500&search=d007"),
    ("devices_traffic", "/v1/devices?limit=500&order=traffic"),
    ("device", "/v1/devices/d00700"),
    ("servers", "/v1/servers?brief=true"),
    ("associations", "/v1/associations?limit=1000"),
    ("plan", "/v1/plan"),
    ("metrics", "/metrics"),
];

/// With so many devices besides `disk`, of which one in ten is on s1.
///
/// # Errors
/// When the site itself fails, or there are too few devices for what is asked.
pub fn run_devices(devices_len: u32) -> Result<Outcome> {
    ensure!(devices_len >= SIZES[0], "at least {} devices", SIZES[0]);
    let mut site = site()?;
    let mut measured = Measured { prefix: format!("scale_{devices_len}"), ..Measured::default() };
    measured.once("apply", || apply(&site, devices_len))?;
    let on_disk = |file: &str| {
        let path = site.redirector.config().with_file_name("state").join(file);
        path.metadata().map_or(0, |found| found.len())
    };
    measured.value("state_file", "bytes", on_disk("state.json") as f64);
    measured.value("journal", "bytes", on_disk("state.journal") as f64);
    measured.once("restart", || {
        site.redirector.stop()?;
        site.redirector.start(&site.gateway)
    })?;
    measured.once("all_healthy", || all_healthy(&site.redirector.api()?))?;
    let api = site.redirector.api()?;
    let before = turns(&api)?;
    ask_all(&api, &mut measured)?;
    for words in [&["status"][..], &["device", "list", "--limit", "1000"], &["server", "list"]] {
        let row = format!("cli_{}", words[..words.len().min(2)].join("_"));
        measured.many(&row, 5, || {
            let output = site.redirector.cli(words)?;
            ensure!(output.status.success(), "{words:?}: {output:?}");
            Ok(())
        })?;
    }
    let servers = ["s1", "s2"];
    let mut turn = 0;
    measured.many("move", MOVES, || {
        turn += 1;
        api.move_device("d00700", servers[turn % 2])
    })?;
    let after = turns(&api)?;
    measured.value("turn_mean", "ms", after.mean_ms_since(&before));
    measured.value("turn_99", "ms", after.within_ms_since(&before, 0.99));
    if devices_len > 5000 {
        dashboard(&site, devices_len, &mut measured)?;
    }
    fail_over(&mut site, &api, &mut measured)?;
    site.redirector.stop()?;
    Ok(measured.outcome)
}

/// With a million flows.
///
/// # Errors
/// When the site itself fails.
pub fn run_flows(flows_len: u32) -> Result<Outcome> {
    let mut site = site()?;
    let mut measured =
        Measured { prefix: format!("scale_{flows_len}_flows"), ..Measured::default() };
    let (mut stream, _) = site.connect()?;
    echo(&mut stream)?;
    copy_flow(site.bpffs.dir(), flows_len)?;
    let api = site.redirector.api()?;
    let before = turns(&api)?;
    let mut cursor = String::new();
    measured.many("page", 200, || {
        let page: Value = api.get(&format!("/v1/flows?limit=1000{cursor}"))?;
        cursor = page["next"].as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
        Ok(())
    })?;
    for (row, query) in [
        ("of_client", "client=172.16.7.7"),
        ("of_server", "server=s1&limit=1000"),
        ("of_device", "device=disk&limit=1000"),
    ] {
        measured.many(row, ASKED, || api.get::<Value>(&format!("/v1/flows?{query}")).map(drop))?;
    }
    measured.once("client_in_all_pages", || {
        let (mut found, mut cursor) = (0, String::new());
        loop {
            let page: Value = api.get(&format!("/v1/flows?client=172.16.7.7{cursor}"))?;
            found += page["items"].as_array().map_or(0, Vec::len);
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        ensure!(found == 16, "{found} flows of one client");
        Ok(())
    })?;
    measured.many("cli_flow_list", 5, || {
        let output = site.redirector.cli(&["flow", "list", "--limit", "1000"])?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    })?;
    measured.many("status", ASKED, || api.status().map(drop))?;
    let after = turns(&api)?;
    measured.value("turn_mean", "ms", after.mean_ms_since(&before));
    measured.value("turn_99", "ms", after.within_ms_since(&before, 0.99));
    site.redirector.stop()?;
    Ok(measured.outcome)
}

fn site() -> Result<Greeters> {
    let limits = "\n[limits]\ndevices_max = 131072\nflows_max = 1100000\n";
    Greeters::start(Version::V4, limits)
}

/// Asks everything, and says how long the answers are.
fn ask_all(api: &Api, measured: &mut Measured) -> Result<()> {
    for (row, path) in QUESTIONS {
        let mut len = 0;
        measured.many(row, ASKED, || {
            let answer = api.send(Method::GET, path, &[], Vec::new())?;
            len = answer.clone().accepted()?.to_string().len();
            Ok(())
        })?;
        measured.value(&format!("{row}_len"), "bytes", len as f64);
    }
    Ok(())
}

/// Rows in the making.
#[derive(Default)]
struct Measured {
    prefix: String,
    outcome: Outcome,
}

impl Measured {
    fn many(&mut self, row: &str, times: usize, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
        let mut samples = Vec::new();
        for _ in 0..times {
            let began = wait::now();
            ask().with_context(|| format!("{} {row}", self.prefix))?;
            samples.push(ms_since(began));
        }
        self.take(Row::samples(&format!("{}_{row}", self.prefix), "ms", &samples));
        Ok(())
    }

    fn once(&mut self, row: &str, ask: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut ask = Some(ask);
        self.many(row, 1, || ask.take().map_or(Ok(()), |ask| ask()))
    }

    fn value(&mut self, row: &str, unit: &str, value: f64) {
        self.take(Row::samples(&format!("{}_{row}", self.prefix), unit, &[value]));
    }

    fn take(&mut self, row: Row) {
        eprintln!("{}: median {:?} worst {:?}", row.name, row.median, row.worst);
        self.outcome.rows.push(row);
    }
}

fn ms_since(began: Instant) -> f64 {
    wait::now().saturating_duration_since(began).as_secs_f64() * 1000.0
}

/// Gives the site its devices as an operator would, with a file.
fn apply(site: &Greeters, devices_len: u32) -> Result<()> {
    let exported = site.redirector.cli(&["--output", "json", "export"])?;
    let mut desired: Value = serde_json::from_slice(&exported.stdout).context("an export")?;
    for number in 0..devices_len {
        // One in ten prefers s1, as a server among ten would have them.
        let servers = if number % 10 == 0 { ["s1", "s2"] } else { ["s2", "s1"] };
        let address = IpAddr::from(Ipv4Addr::from(0x0a40_0001 + number));
        desired["devices"][format!("d{number:05}")] = json!({
            "address": address, "port": 7100, "forwarding": "dsr", "servers": servers,
        });
    }
    let file = site.redirector.config().with_file_name("site.json");
    std::fs::write(&file, desired.to_string())?;
    let path = file.to_string_lossy().into_owned();
    let output = site.redirector.cli(&["apply", &path, "--yes"])?;
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && says.contains("steps are done"), "{says}");
    Ok(())
}

/// Waits until every path has answered its checks.
fn all_healthy(api: &Api) -> Result<()> {
    let mut pace = Pace::every(LOOKED_EVERY);
    wait::until("all checks", HEALTHY_WITHIN, || {
        pace.beat();
        let servers: Value = api.get("/v1/servers?brief=true")?;
        let items = servers["items"].as_array().cloned().unwrap_or_default();
        let is_well = |server: &Value| {
            let others = server["paths"].as_object().is_some_and(|paths| !paths.is_empty());
            server["health"] == "healthy" && !others
        };
        let text = items.iter().map(|server| server["health"].to_string()).collect::<String>();
        Ok(if items.iter().all(is_well) { Look::Done(()) } else { Look::NotYet(text) })
    })
}

/// The page in a real browser: its first picture, and a device found among all by the filter.
fn dashboard(site: &Greeters, devices_len: u32, measured: &mut Measured) -> Result<()> {
    let mut browser = Browser::start(&site.gateway, &format!("http://{API}/"))?;
    browser.step("blank")?;
    measured.once("dashboard_first", || browser.step("many"))?;
    // With the site's own device.
    let all_len = devices_len + 1;
    let shown = format!("{},{:03}", all_len / 1000, all_len % 1000);
    measured.once("dashboard_find", || browser.step_with("find", &shown))
}

/// s1 hears nothing any more while a client opens one connection after the other.
fn fail_over(site: &mut Greeters, api: &Api, measured: &mut Measured) -> Result<()> {
    api.move_device("disk", "s1")?;
    let on_it = devices_on(api, "s1")?;
    measured.value("devices_of_the_dead", "devices", on_it as f64);
    let (_, name) = site.connect()?;
    ensure!(name == "s1", "the device is on {name}");
    site.servers[0].ip(&["address flush dev eth0"])?;
    let began = wait::now();
    wait::until("a greeting of the survivor", MOVED_WITHIN, || {
        Ok(match site.connect() {
            Ok((_, name)) if name == "s2" => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })?;
    measured.value("failover_client", "ms", ms_since(began));
    wait::until("all devices elsewhere", MOVED_WITHIN, || {
        let left = devices_on(api, "s1")?;
        Ok(if left == 0 { Look::Done(()) } else { Look::NotYet(format!("{left} are left")) })
    })?;
    measured.value("failover_all_moved", "ms", ms_since(began));
    Ok(())
}

fn devices_on(api: &Api, name: &str) -> Result<u64> {
    let servers: Value = api.get("/v1/servers?brief=true")?;
    let items = servers["items"].as_array().context("a list")?;
    let server = items.iter().find(|server| server["name"] == name).context("the server")?;
    server["devices_len"].as_u64().context("a number")
}

/// The control loop's turns so far: how many took at most so many seconds, and all their time.
struct Turns {
    within: BTreeMap<u64, f64>,
    sum_seconds: f64,
    len: f64,
}

const TURNS: &str = "redirector_loop_turn_seconds";

fn turns(api: &Api) -> Result<Turns> {
    let answer = api.send(Method::GET, "/metrics", &[], Vec::new())?;
    let body = answer.accepted()?;
    let text = body.as_str().context("a text")?;
    let mut turns = Turns { within: BTreeMap::new(), sum_seconds: 0.0, len: 0.0 };
    for line in text.lines().filter_map(|line| line.strip_prefix(TURNS)) {
        let (name, value) = line.rsplit_once(' ').context("a value")?;
        let value: f64 = value.parse()?;
        match name {
            "_sum" => turns.sum_seconds = value,
            "_count" => turns.len = value,
            _ => {
                let bound = name.trim_start_matches("_bucket{le=\"").trim_end_matches("\"}");
                if let Ok(seconds) = bound.parse::<f64>() {
                    turns.within.insert((seconds * 1e6).round() as u64, value);
                }
            }
        }
    }
    ensure!(turns.len > 0.0, "no {TURNS} in /metrics");
    Ok(turns)
}

impl Turns {
    fn mean_ms_since(&self, before: &Self) -> f64 {
        (self.sum_seconds - before.sum_seconds) * 1000.0 / (self.len - before.len).max(1.0)
    }

    /// The least bound within which this share of the turns was; the histogram's last one if none.
    fn within_ms_since(&self, before: &Self, share: f64) -> f64 {
        let wanted = (self.len - before.len) * share;
        let grown = |(bound, len): (&u64, &f64)| {
            let was = before.within.get(bound).copied().unwrap_or_default();
            (len - was >= wanted).then_some(*bound)
        };
        let last = self.within.keys().next_back().copied();
        let bound = self.within.iter().find_map(grown).or(last).unwrap_or_default();
        bound as f64 / 1000.0
    }
}
