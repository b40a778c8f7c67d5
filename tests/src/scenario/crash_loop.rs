//! kill -9 of the daemon again and again while changes stream in: whatever it is killed in the
//! middle of, it comes back with a state that it has acknowledged or was being told, and with the
//! tables that belong to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use reqwest::Method;
use serde_json::json;

use super::{Outcome, image};
use crate::api::Api;
use crate::lab::Lab;
use crate::random::Random;
use crate::report::Row;
use crate::topology::service_address;
use crate::wait::{self, Look};

/// Kills of a run that is worth reporting.
pub const KILLS: u64 = 200;
/// Changes stream in for at least so long before a kill, and for at most so much longer.
const STREAM_MIN_MS: u64 = 5;
const STREAM_SPREAD: usize = 200;
/// Devices that come and go.
const PASSING: usize = 8;
/// What their names begin with.
const PASSING_PREFIX: &str = "passing-";
/// The first of their service addresses.
const PASSING_FROM: u8 = 20;
/// A device whose clients are moved one by one, and stay nowhere else.
const HELD: &str = "held-0";
/// Its service address and its clients end with these.
const HELD_ADDRESS: u8 = 40;
const HELD_CLIENTS: [u8; 4] = [51, 52, 53, 54];
/// State and tables must fit together within this after a start.
const FITS_WITHIN: Duration = Duration::from_secs(5);

/// Device, or client and device -> server, as clients of the API know it.
type Known = BTreeMap<String, String>;

/// Kills the daemon `kills` times.
///
/// # Errors
/// When the lab itself fails. Broken promises are in the outcome.
pub fn run(lab: &mut Lab, kills: u64, seed: u64) -> Result<Outcome> {
    let mut random = Random::new(seed);
    let mut outcome = Outcome::default();
    let (mut start_ms, mut changes, mut in_flight) = (Vec::new(), 0, 0);
    add_held(&lab.api()?)?;
    let mut known = known(&lab.api()?)?;
    let mut generation = lab.state()?.spec.generation;
    for number in 0..kills {
        let delay = Duration::from_millis(STREAM_MIN_MS + random.below(STREAM_SPREAD) as u64);
        let streamed = stream_and_kill(lab, &known, random.bits(), delay)?;
        changes += streamed.changes;
        in_flight += u64::from(streamed.in_flight.is_some());
        generation = generation.max(streamed.generation);
        let began = wait::now();
        lab.start_redirector().with_context(|| format!("after kill {number}"))?;
        start_ms.push(began.elapsed().as_secs_f64() * 1000.0);

        let found = self::known(&lab.api()?)?;
        let mut problems = Vec::new();
        if found != streamed.acknowledged && Some(&found) != streamed.in_flight.as_ref() {
            let Streamed { acknowledged, in_flight, .. } = &streamed;
            problems.push(format!(
                "it came back with {found:?}; acknowledged was {acknowledged:?}, in flight \
                 {in_flight:?}"
            ));
        }
        let now = lab.state()?.spec.generation;
        if now < generation {
            problems.push(format!("generation {generation} was acknowledged, {now} came back"));
        }
        problems.extend(unfit(lab)?);
        outcome.violations.extend(problems.iter().map(|what| format!("kill {number}: {what}")));
        (known, generation) = (found, now);
    }
    let violations = outcome.violations.len() as u64;
    outcome.rows.push(Row::promise("crash_loop", "kills", kills, violations));
    outcome.rows.push(Row::samples("crash_loop_start", "ms", &start_ms));
    outcome.notes.push(format!(
        "crash_loop: {changes} changes acknowledged, {in_flight} kills with a change in flight"
    ));
    ensure!(changes > 0, "no change was acknowledged between the kills");
    Ok(outcome)
}

/// What became of the changes before a kill.
struct Streamed {
    changes: u64,
    /// The last generation that was acknowledged.
    generation: u64,
    acknowledged: Known,
    /// What the change makes of it that was asked for and not answered.
    in_flight: Option<Known>,
}

/// Sends changes as fast as they are answered, and kills the daemon after a while.
fn stream_and_kill(lab: &mut Lab, known: &Known, seed: u64, delay: Duration) -> Result<Streamed> {
    let (api, is_killed) = (lab.api()?, AtomicBool::new(false));
    let servers: Vec<String> = lab.servers.keys().cloned().collect();
    thread::scope(|scope| {
        let stream = scope.spawn(|| stream(&api, known, &servers, (seed, &is_killed)));
        // The passing of time is what is tested: the kill comes at a moment of chance.
        wait::let_pass(delay);
        // Before it: what fails from here on may have failed because of the kill.
        is_killed.store(true, Ordering::SeqCst);
        let killed = lab.redirector.kill();
        let streamed = stream.join().map_err(|_| anyhow!("the stream of changes panicked"))?;
        killed?;
        streamed
    })
}

fn stream(
    api: &Api,
    known: &Known,
    servers: &[String],
    (seed, is_killed): (u64, &AtomicBool),
) -> Result<Streamed> {
    let mut random = Random::new(seed);
    let (mut acknowledged, mut changes, mut generation) = (known.clone(), 0, 0);
    loop {
        let (change, next) = a_change(&acknowledged, servers, &mut random);
        let answer = change.send(api);
        match answer {
            Ok(moved_to) => {
                (acknowledged, generation) = (next, moved_to.max(generation));
                changes += 1;
            }
            Err(_) if is_killed.load(Ordering::SeqCst) => {
                let in_flight = Some(next);
                return Ok(Streamed { changes, generation, acknowledged, in_flight });
            }
            Err(error) => return Err(error).context("a change while nobody kills"),
        }
    }
}

/// A change over the API.
enum Change {
    Move(String, String),
    Add(usize, String),
    Remove(String),
    MoveClient(IpAddr, String),
}

/// Chooses a change; gives what it makes of the state.
fn a_change(known: &Known, servers: &[String], random: &mut Random) -> (Change, Known) {
    let mut next = known.clone();
    let server = random.choose(servers).clone();
    let number = random.below(PASSING);
    let name = passing(number);
    let change = match random.below(5) {
        4 => {
            let client = IpAddr::V4(service_address(*random.choose(&HELD_CLIENTS)));
            next.insert(held(client), server.clone());
            Change::MoveClient(client, server)
        }
        0 if known.contains_key(&name) => {
            next.remove(&name);
            Change::Remove(name)
        }
        0 => {
            next.insert(name, server.clone());
            Change::Add(number, server)
        }
        _ => {
            let passing = [PASSING_PREFIX, HELD, CLIENT_PREFIX];
            let lasts = |name: &&String| !passing.iter().any(|prefix| name.starts_with(prefix));
            let devices: Vec<&String> = known.keys().filter(lasts).collect();
            let device = (*random.choose(&devices)).clone();
            next.insert(device.clone(), server.clone());
            Change::Move(device, server)
        }
    };
    (change, next)
}

/// What names of clients in [`Known`] begin with.
const CLIENT_PREFIX: &str = "client ";

/// What a client of the device whose clients are moved is called in [`Known`].
fn held(client: IpAddr) -> String {
    format!("{CLIENT_PREFIX}{client} of {HELD}")
}

/// Adds the device whose clients are moved. Nobody serves it, as with the passing ones.
fn add_held(api: &Api) -> Result<()> {
    let body = json!({
        "address": service_address(HELD_ADDRESS), "port": 7000, "server_port": 7200,
        "server": "s1", "servers": ["s1", "s2", "s3"], "affinity": "client",
        "check_interval_ms": 60_000, "fall": 100,
    });
    api.send_json(Method::PUT, &format!("/v1/devices/{HELD}"), &body)?.accepted()?;
    Ok(())
}

/// Name of a device that comes and goes.
fn passing(number: usize) -> String {
    format!("{PASSING_PREFIX}{number}")
}

impl Change {
    /// Asks for it, and gives the generation that holds it.
    fn send(&self, api: &Api) -> Result<u64> {
        let (method, path, body) = match self {
            Self::Move(device, server) => {
                (Method::PUT, format!("/v1/associations/{device}"), json!({ "server": server }))
            }
            Self::Add(number, server) => {
                let port = 7100 + *number;
                let address = service_address(PASSING_FROM + *number as u8);
                // Nobody serves it: it is asked for so seldom that it is not found dead.
                let body = json!({
                    "address": address, "port": 7000, "server_port": port, "server": server,
                    "servers": ["s1", "s2", "s3"], "check_interval_ms": 60_000, "fall": 100,
                });
                (Method::PUT, format!("/v1/devices/{}", passing(*number)), body)
            }
            Self::MoveClient(client, server) => {
                let path = format!("/v1/devices/{HELD}/clients/{client}");
                (Method::PUT, path, json!({ "server": server }))
            }
            Self::Remove(device) => {
                (Method::DELETE, format!("/v1/devices/{device}"), serde_json::Value::Null)
            }
        };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let headers = [("content-type", "application/json")];
        let answer = api.send(method, &path, &headers, body)?;
        let generation = answer.body["generation"].as_u64();
        answer.accepted().with_context(|| path.clone())?;
        Ok(generation.unwrap_or_default())
    }
}

/// Through which server each device is reached.
fn known(api: &Api) -> Result<Known> {
    let mut known = Known::new();
    for device in api.devices()? {
        let moved = device.moved_clients.into_iter();
        known.extend(moved.map(|one| (held(one.client), one.server)));
        known.insert(device.name, device.association.server);
    }
    Ok(known)
}

/// What differs between the state on disk and the tables. Both may be a step on their way: then
/// they are looked at again.
fn unfit(lab: &Lab) -> Result<Vec<String>> {
    let mut last = Vec::new();
    let fits = wait::until("state and tables to fit together", FITS_WITHIN, || {
        let spec = lab.state()?.spec;
        last = image::differences(&lab.pins(), &spec)?;
        last.extend(image::clients_not_held(&lab.pins(), &spec)?);
        Ok(match last.is_empty() && lab.state()?.spec == spec {
            true => Look::Done(()),
            false => Look::NotYet(format!("{last:?}")),
        })
    });
    Ok(if fits.is_ok() { Vec::new() } else { last })
}
