//! Who is told of a server's death: from the moment at which the program knows of it to the reset
//! that the client's kernel takes, for flows that ask and for flows that only wait.
//!
//! The dead server hangs with its links up, so that nobody but the redirector can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::Outcome;
use super::failover::DEVICE;
use super::gate::{Gate, Redirecting};
use super::tables::Words;
use super::tries::Tries;
use crate::data_path::Version;
use crate::device::{Device, Kind};
use crate::fault::Fault;
use crate::flows::{End, Flow, Flows, Manner};
use crate::lab::{Lab, Plan};
use crate::packets::Capture;
use crate::report::Row;
use crate::wait::{self, Look, Pace};

/// Flows of each client.
const FLOWS: usize = 25;
/// The clients.
const CLIENTS: [&str; 2] = ["c1", "c2"];
/// Time between two looks at the tables: the error of the moment of detection.
const LOOK_INTERVAL: Duration = Duration::from_micros(200);
/// From the death to the last client's reset.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// Of a thousand flows so many may need more than one try.
const MORE_TRIES_MAX_PER_MILLE: usize = 1;

/// So many of these are described in the outcome.
const SHOWN_MAX: usize = 10;

/// What clients speak.
#[derive(Debug, Clone, Copy)]
pub struct Speech {
    version: Version,
    timestamps: bool,
}

impl Speech {
    /// Every mixture.
    pub const ALL: [Self; 4] = [
        Self { version: Version::V4, timestamps: true },
        Self { version: Version::V4, timestamps: false },
        Self { version: Version::V6, timestamps: true },
        Self { version: Version::V6, timestamps: false },
    ];

    /// As it is in the names of rows.
    fn name(self) -> &'static str {
        match (self.version, self.timestamps) {
            (Version::V4, true) => "v4",
            (Version::V4, false) => "v4_no_timestamps",
            (Version::V6, true) => "v6",
            (Version::V6, false) => "v6_no_timestamps",
        }
    }
}

/// What became of flows whose server died.
#[derive(Debug, Default)]
struct Told {
    /// From the detection to the reset, in ms.
    ms: Vec<f64>,
    /// How those flows were told that were not told by the first segment that was to tell them.
    more_tries: Vec<String>,
    /// Flows that were not told, or otherwise.
    violations: Vec<String>,
}

/// Lets the server of open flows die `runs` times with each sort of clients.
///
/// # Errors
/// When the lab itself fails. Clients that are not told are violations in the outcome.
pub fn run(manner: Manner, speeches: &[Speech], runs: u64) -> Result<Outcome> {
    let row = match manner {
        Manner::Asks => "told_active",
        Manner::Waits => "told_idle",
    };
    let (mut whole, mut parts) = (Told::default(), Vec::new());
    for speech in speeches {
        let name = format!("{row}_{}", speech.name());
        eprintln!("{name}: {runs} deaths of {} flows each", FLOWS * CLIENTS.len());
        let mut lab = Lab::start(plan(*speech))?;
        for client in CLIENTS {
            let value = if speech.timestamps { "1" } else { "0" };
            lab.client(client)?.sysctl("net/ipv4/tcp_timestamps", value)?;
        }
        let mut told = Told::default();
        for number in 0..runs {
            let once = run_once(&mut lab, manner);
            told.add(once.with_context(|| format!("{name}, run {number}"))?);
        }
        parts.push(Row::samples(&name, "ms", &told.ms));
        whole.add(told);
    }
    Ok(whole.outcome(row, parts))
}

/// A lab of one sort of address, whose devices need no disk.
fn plan(speech: Speech) -> Plan {
    let mut plan = Plan::standard(0);
    plan.devices.retain(|device| device.kind == Kind::Echo);
    let set = |device: &mut Device| device.version = speech.version;
    plan.devices.iter_mut().for_each(set);
    plan
}

impl Told {
    fn add(&mut self, other: Self) {
        self.ms.extend(other.ms);
        self.more_tries.extend(other.more_tries);
        self.violations.extend(other.violations);
    }

    fn outcome(mut self, row: &str, parts: Vec<Row>) -> Outcome {
        let flows = self.ms.len() + self.violations.len();
        let untold = self.violations.len() as u64;
        // Who was not told at all was not told at the first try either.
        let more_tries = self.more_tries.len() + self.violations.len();
        if more_tries * 1000 > flows * MORE_TRIES_MAX_PER_MILLE {
            let what =
                format!("{row}: {more_tries} of {flows} flows were not told at the first try");
            self.violations.push(what);
            self.violations.extend(self.more_tries.drain(..).take(SHOWN_MAX));
        }
        let first_try = format!("{row}_first_try");
        let mut rows = vec![Row::samples(row, "ms", &self.ms).with_violations(untold)];
        rows.extend(parts);
        rows.push(Row::promise(&first_try, "flows", flows as u64, more_tries as u64));
        Outcome { rows, violations: self.violations, notes: Vec::new() }
    }
}

fn run_once(lab: &mut Lab, manner: Manner) -> Result<Told> {
    let address = lab.device(DEVICE)?.service();
    let victim = Redirecting.server(lab)?;
    let mut clients = Vec::new();
    for client in CLIENTS {
        let namespace = lab.client(client)?;
        let flows = Flows::from(namespace)?;
        for _ in 0..FLOWS {
            let flow = flows.open_as(address, manner)?;
            ensure!(flow.server_name() == victim, "a flow before the death is on {}", flow.server);
        }
        clients.push((flows, Capture::start(namespace, "eth0")?));
    }
    let watch = Watch::start(lab, &victim)?;
    Fault::Freeze.inject(lab, &victim)?;
    // Who is not told in time is found below.
    let _ = wait::until("every client to be told", TOLD_WITHIN, || {
        let open: usize = clients.iter().map(|(flows, _)| still_open(flows)).sum();
        Ok(if open == 0 { Look::Done(()) } else { Look::NotYet(format!("{open} are not")) })
    });
    let detected = watch.stop()?.context("the death was not noticed")?;
    let mut result = Told::default();
    for (flows, capture) in clients {
        let tries = Tries::read(&capture.stop()?, address);
        for flow in flows.close() {
            result.judge(&flow, &tries, detected);
        }
    }
    Fault::Freeze.repair(lab, &victim)?;
    Redirecting.wait_until_well(lab, &victim)?;
    Ok(result)
}

fn still_open(flows: &Flows) -> usize {
    flows.look().iter().filter(|flow| flow.end.is_none()).count()
}

impl Told {
    fn judge(&mut self, flow: &Flow, tries: &Tries, detected: Instant) {
        match &flow.end {
            Some((End::Broken(_), at)) => {
                let span = at.saturating_duration_since(detected);
                self.ms.push(span.as_secs_f64() * 1000.0);
                self.more_tries.extend(tries.one_was_enough(flow.local.port()).err());
            }
            other => {
                let Flow { local, server, .. } = flow;
                self.violations.push(format!("{local} on {server} was not reset: {other:?}"));
            }
        }
    }
}

/// Looks at the tables for the moment at which the program knows of a death.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Option<Instant>>>,
}

impl Watch {
    fn start(lab: &Lab, victim: &str) -> Result<Self> {
        let spec = lab.state()?.spec;
        let server = spec.servers.get(victim).context("the state lacks the server")?.id;
        let device = spec.devices.get(DEVICE).context("the state lacks the device")?.id;
        let words = Words::open(&lab.pins())?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("watch".into()).spawn(move || {
            let before = words.association(device)?.server();
            let mut pace = Pace::every(LOOK_INTERVAL);
            while !stopped.load(Ordering::Relaxed) {
                // The server's own word, or that of the device if its path was found dead first.
                let is_known = !words.server(server)?.is_alive();
                if is_known || words.association(device)?.server() != before {
                    return Ok(Some(wait::now()));
                }
                pace.beat();
            }
            Ok(None)
        })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<Option<Instant>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the watch panicked"))?
    }
}
