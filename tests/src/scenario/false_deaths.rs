//! Nothing dies, though much is slow: every processor is busy, each server stands still for 40 ms
//! now and then, and one packet in a hundred is lost at the servers. Whoever is declared dead then
//! is accused falsely.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::Outcome;
use crate::api::{Api, EventView};
use crate::flows::{Flow, Flows};
use crate::lab::Lab;
use crate::netns::run_quietly;
use crate::process::Process;
use crate::report::Row;
use crate::wait::{self, Pace};

/// Minutes of a run that is worth reporting.
pub const MINUTES: u64 = 20;
/// Time between the pauses of two servers, each in its turn.
const PAUSE_INTERVAL: Duration = Duration::from_millis(250);
/// How long a server stands still.
const PAUSE: Duration = Duration::from_millis(40);
/// Flows that each client has on each echo device.
const FLOWS: u32 = 3;
/// Loses one packet in a hundred, each way, on all links of a host.
const LOSS: &str = "
    add table inet lab_loss
    add chain inet lab_loss incoming { type filter hook input priority -300; }
    add rule inet lab_loss incoming iifname != lo numgen random mod 100 < 1 counter drop
    add chain inet lab_loss outgoing { type filter hook output priority -300; }
    add rule inet lab_loss outgoing oifname != lo numgen random mod 100 < 1 counter drop
";

/// Watches for `span` that nobody is declared dead.
///
/// # Errors
/// When the lab itself fails. A server declared dead is a violation in the outcome.
pub fn run(lab: &mut Lab, span: Duration) -> Result<Outcome> {
    let api = lab.api()?;
    let servers: Vec<String> = lab.servers.keys().cloned().collect();
    for server in &servers {
        let mut nft = lab.network.host(server)?.command("nft");
        run_quietly(nft.arg(LOSS)).context("lose packets (package nftables)")?;
    }
    let burners = burn_all_processors(lab)?;
    let clients = [Flows::from(lab.client("c1")?)?, Flows::from(lab.client("c2")?)?];
    for device in ["echo-a", "echo-b"] {
        let address = lab.device(device)?.service();
        for client in &clients {
            for _ in 0..FLOWS {
                // A lost SYN is sent again; the flow is what is wanted, not its speed.
                client.open(address)?;
            }
        }
    }
    let mut seen = Seen { last: last_event(&api)?, ..Seen::default() };
    let (ends, mut pace, mut pauses) = (wait::now() + span, Pace::every(PAUSE_INTERVAL), 0);
    for server in servers.iter().cycle() {
        if wait::now() >= ends {
            break;
        }
        lab.server(server)?.signal(Signal::SIGSTOP)?;
        wait::let_pass(PAUSE);
        lab.server(server)?.signal(Signal::SIGCONT)?;
        pauses += 1;
        seen.take(api.events(seen.last)?);
        pace.beat();
    }
    seen.take(api.events(seen.last)?);
    drop(burners);
    let flows: Vec<Flow> = clients.into_iter().flat_map(Flows::close).collect();
    let lost = lost(lab, &servers)?;
    let broken = flows.iter().filter(|flow| flow.end.is_some()).count();
    Ok(seen.outcome(span, &format!(
        "{pauses} pauses of {} ms, {lost} packets lost, {broken} of {} flows ended by themselves",
        PAUSE.as_millis(),
        flows.len()
    )))
}

/// One program for each processor that never rests.
fn burn_all_processors(lab: &Lab) -> Result<Vec<Process>> {
    let len = std::thread::available_parallelism()?.get();
    let burn = |number: usize| {
        let name = format!("burn-{number}");
        let launch = lab.on_gateway(&name)?;
        launch.start(Path::new("sh"), &["-c", "while :; do :; done"])
    };
    (0..len).map(burn).collect()
}

/// What the daemon said meanwhile.
#[derive(Debug, Default)]
struct Seen {
    /// The last event read.
    last: u64,
    suspicions: u64,
    frozen: u64,
    deaths: Vec<String>,
}

impl Seen {
    fn take(&mut self, events: Vec<EventView>) {
        for event in events {
            self.last = self.last.max(event.id);
            match event.kind.as_str() {
                "server_suspect" => self.suspicions += 1,
                "frozen" => self.frozen += 1,
                "server_dead" => self.deaths.push(event.text),
                _ => {}
            }
        }
    }

    fn outcome(self, span: Duration, what: &str) -> Outcome {
        let Self { suspicions, frozen, deaths, .. } = self;
        let (minutes, len) = (span.as_secs_f64() / 60.0, deaths.len());
        let row = Row::promise("false_deaths", "s", span.as_secs(), len as u64);
        let note = format!(
            "false_deaths: {minutes:.1} minutes, {suspicions} suspicions, {frozen} times held \
             back; {what}"
        );
        let violations = deaths.into_iter().map(|text| format!("false_deaths: {text}")).collect();
        Outcome { rows: vec![row], violations, notes: vec![note] }
    }
}

/// The number of the last event so far.
fn last_event(api: &Api) -> Result<u64> {
    Ok(api.events(0)?.last().map_or(0, |event| event.id))
}

/// Packets that the rules have dropped at the servers.
fn lost(lab: &Lab, servers: &[String]) -> Result<u64> {
    let mut lost = 0;
    for server in servers {
        let mut nft = lab.network.host(server)?.command("nft");
        let text = run_quietly(nft.args(["list", "table", "inet", "lab_loss"]))?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let counts = words.windows(2).filter(|pair| pair[0] == "packets");
        lost += counts.filter_map(|pair| pair[1].parse::<u64>().ok()).sum::<u64>();
    }
    Ok(lost)
}
