//! The live view: who serves what, how many flows, how fast, and what changed and why; all of it
//! asked from the daemon over REST.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::screen::Screen;
use crate::api::{Api, DeviceView, EventView};
use crate::wait::{self, Pace};

/// Time between two looks on a terminal.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Of so many looks one is shown where there is no terminal.
const PLAIN_EVERY: u64 = 4;
/// Kinds of events that are about the daemon itself or that another event tells better.
const QUIET_KINDS: [&str; 3] = ["neighbour", "started", "change"];

/// The view while it runs. Dropping it takes it off the screen.
pub struct View {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    screen: Arc<Screen>,
}

impl View {
    /// Starts to show what the daemon says.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn start(api: Api, screen: Arc<Screen>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let last_event = api.events(0)?.last().map_or(0, |event| event.id);
        let (stopped, shown_on) = (Arc::clone(&stop), Arc::clone(&screen));
        let thread = thread::Builder::new()
            .name("view".into())
            .spawn(move || run(&api, &shown_on, last_event, &stopped))
            .context("start the live view")?;
        Ok(Self { stop, thread: Some(thread), screen })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the live view panicked");
        }
        self.screen.hide();
    }
}

fn run(api: &Api, screen: &Screen, mut last_event: u64, stop: &AtomicBool) {
    let mut pace = Pace::every(LOOK_INTERVAL);
    let mut before = BTreeMap::new();
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        match api.events(last_event) {
            Ok(events) => {
                events.iter().filter_map(event_line).for_each(|line| screen.say(&line));
                last_event = events.last().map_or(last_event, |event| event.id);
            }
            Err(error) => screen.say(&format!("the daemon does not answer: {error:#}")),
        }
        let is_shown = screen.is_terminal() || looks % PLAIN_EVERY == 0;
        if is_shown && let Ok(devices) = api.devices() {
            screen.show(devices.iter().map(|device| line(device, &mut before)).collect());
        }
        looks += 1;
        pace.beat();
    }
}

type Before = BTreeMap<String, (Instant, u64, u64)>;

/// A device in one line, which must fit into 80 columns: one that is wrapped cannot be drawn anew.
fn line(device: &DeviceView, before: &mut Before) -> String {
    let bytes = (device.to_server.bytes, device.to_client.bytes);
    let now = wait::now();
    let earlier = before.insert(device.name.clone(), (now, bytes.0, bytes.1));
    let rate = |is: u64, was: fn(&(Instant, u64, u64)) -> u64| {
        earlier.as_ref().map_or(0.0, |earlier| {
            let seconds = (now - earlier.0).as_secs_f64().max(0.001);
            is.saturating_sub(was(earlier)) as f64 / seconds / 1e6
        })
    };
    let flows: Vec<String> = device
        .flows_by_server
        .iter()
        .filter(|(_, len)| **len > 0)
        .map(|(server, len)| format!("{len} on {server}"))
        .collect();
    format!(
        "  | {:7} via {:3} | flows: {:20} | {:6.1} up {:6.1} down MB/s",
        device.name,
        device.association.server,
        if flows.is_empty() { "none".to_owned() } else { flows.join(", ") },
        rate(bytes.0, |earlier| earlier.1),
        rate(bytes.1, |earlier| earlier.2),
    )
}

/// An event worth telling, in one line.
fn event_line(event: &EventView) -> Option<String> {
    let is_quiet = QUIET_KINDS.contains(&event.kind.as_str());
    (!is_quiet).then(|| format!("  > {}", event.text))
}
