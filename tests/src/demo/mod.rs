//! `redirector-lab demo`: the main job on real storage, told step by step.
//!
//! Here are its frame and the lab it plays in; the acts are in `story`.

mod figures;
mod looking_around;
mod screen;
mod story;
mod view;

use std::sync::Arc;

use anyhow::Result;

use crate::cleanup;
use crate::device::{Device, Kind};
use crate::lab::{Lab, Plan};
use crate::process::Life;
use screen::Screen;
use story::Story;
use view::View;

/// Bytes a second that each client writes.
const RATE: u64 = 8 << 20;

/// Arguments of `redirector-lab demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Leave everything up afterwards and tell how to look around.
    #[arg(long)]
    keep: bool,
    /// Seconds of writing by each client.
    #[arg(long, default_value_t = 18, value_parser = clap::value_parser!(u64).range(10..=600))]
    duration: u64,
}

/// Tells the story. True when everything was as promised.
///
/// # Errors
/// When a step fails. Everything made is removed then, also with `--keep`.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let screen = Arc::new(Screen::new());
    let bytes = RATE * arguments.duration;
    let life = if arguments.keep { Life::MayOutlive } else { Life::WithHarness };
    let mut lab = build(&screen, bytes, life)?;
    let view = View::start(lab.api()?, Arc::clone(&screen))?;
    let outcome = Story::new(&mut lab, &screen, bytes).tell();
    drop(view);
    let figures = outcome?;
    screen.chapter("Summary");
    figures.lines().iter().for_each(|line| screen.plain(line));
    let problems = figures.problems();
    problems.iter().for_each(|problem| screen.plain(&format!("  NOT AS PROMISED: {problem}")));
    if arguments.keep {
        screen.chapter("Everything stays up");
        looking_around::lines(&lab)?.iter().for_each(|line| screen.plain(line));
        cleanup::keep_all();
    } else {
        screen.say("cleaning up");
        drop(lab);
    }
    Ok(problems.is_empty())
}

/// Builds the lab, saying what it is.
fn build(screen: &Screen, bytes: u64, life: Life) -> Result<Lab> {
    let mut plan = Plan::standard(bytes);
    plan.life = life;
    plan.devices.retain(|device| matches!(device.kind, Kind::Disk { .. }));
    screen.chapter("A gateway between clients and storage servers");
    screen.say("making network namespaces: clients c1 and c2, the gateway, servers s1, s2 and s3,");
    screen.plain("         and a storage network behind the servers that only they reach");
    screen
        .say(&format!("starting storage: two disks of {} MiB in nbdkit; each server", bytes >> 20));
    screen.plain("         offers both over NBD (qemu-nbd), so any server reaches any disk");
    let mut lab = Lab::build(plan)?;
    screen.say("starting the redirector in the gateway");
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let status = lab.api()?.status()?;
    for interface in status["interfaces"].as_array().into_iter().flatten() {
        let (name, mode) = (&interface["name"], &interface["mode"]);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
        screen.say(&format!("XDP program attached to {} in {} mode", text(name), text(mode)));
    }
    for device in &lab.plan().devices {
        let Device { name, server, .. } = device;
        screen.say(&format!("{name} is reached at {} through {server}", device.service()));
    }
    Ok(lab)
}
