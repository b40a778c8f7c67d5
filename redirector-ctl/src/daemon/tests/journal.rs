//! A disk that is slow: what waits for it, and what does not.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::core::op::ServerState;

/// A sync, of a directory or a file there, that lasts until somebody opens the gate, a named pipe,
/// from the other side.
fn until_the_gate_is_open(_: &File, path: &Path) -> std::io::Result<()> {
    let gate = if path.is_dir() { path.join("gate") } else { path.with_file_name("gate") };
    File::open(gate).map(drop)
}

/// An owner at rest whose disk has stopped, as disks do.
async fn at_a_closed_gate() -> (Owner<Model>, tempfile::TempDir) {
    let (mut owner, dir) = at_rest().await;
    close_the_gate(&mut owner, dir.path());
    (owner, dir)
}

/// The disk stops.
fn close_the_gate(owner: &mut Owner<Model>, dir: &Path) {
    let made = Command::new("mkfifo").arg(dir.join("gate")).status().unwrap();
    assert!(made.success());
    let store = super::disk::opened_again(owner, dir);
    owner.store = Arc::new(store.syncing(until_the_gate_is_open));
}

/// The disk goes on, and does not stop again.
fn open_the_gate(dir: &Path) {
    // Whoever waits is there when this returns, and those who come later find an ordinary file.
    let gate = OpenOptions::new().write(true).open(dir.join("gate")).unwrap();
    fs::write(dir.join("open"), "").unwrap();
    fs::rename(dir.join("open"), dir.join("gate")).unwrap();
    drop(gate);
}

fn move_to(device: &str, server: &str) -> Change {
    let moves = vec![Move { device: device.into(), server: server.into(), policy: None }];
    Change::Associate { moves, cause: Cause::Planned }
}

#[tokio::test]
async fn a_death_takes_effect_while_a_change_waits_for_the_disk() {
    let (mut owner, dir) = at_a_closed_gate().await;
    let mut heard = owner.ask(&move_to("d2", "s3"), None);
    refuse(&mut owner, "s1");
    owner.replan().await;
    assert_eq!(owner.kernel.writes[0].0, "server 1 state dead life 1");
    assert_eq!(owner.spec.devices["d1"].association.server, "s2");
    assert_eq!(owner.kernel.image, Image::of(&owner.spec, &owner.observed));
    assert_eq!(owner.spec.devices["d2"].association.server, "s2", "it waits");
    assert!(heard.try_recv().is_err(), "it was answered before it was on disk");

    open_the_gate(dir.path());
    owner.until_written().await;
    let applied = heard.await.unwrap().unwrap();
    assert_eq!(owner.spec.devices["d2"].association.server, "s3");
    assert_eq!(owner.spec.devices["d1"].association.server, "s2");
    assert_eq!(applied.generation, owner.spec.generation);
    assert_eq!(generation_on_disk(&owner.kernel.state_dir), owner.spec.generation);
    assert_eq!(owner.kernel.image, Image::of(&owner.spec, &owner.observed));
}

#[tokio::test]
async fn survivors_that_are_let_in_early_take_over_without_waiting_for_the_disk() {
    let (mut owner, dir) = at_rest().await;
    owner.settings.hold_down = HoldDown { first_ms: 60_000, max_ms: 60_000, forget_ms: 600_000 };
    let well = CheckResult::Answered { took_us: 100 };
    for server in ["s2", "s3"] {
        kill(&mut owner, server).await;
        report_all(&mut owner, server, &well);
        report_all(&mut owner, server, &well);
        owner.decide().await;
        assert!(owner.spec.servers[server].life_over, "{server} answers, but is held down");
    }
    close_the_gate(&mut owner, dir.path());
    refuse(&mut owner, "s1");
    owner.replan().await;
    let image = owner.kernel.image.clone();
    open_the_gate(dir.path());
    owner.until_written().await;
    for word in image.words.values() {
        let state = image.servers[&word.server].state;
        assert_eq!(state, ServerState::Alive, "{word:?} while the disk hung");
    }
    assert_eq!(generation_on_disk(&owner.kernel.state_dir), owner.spec.generation);
}

#[tokio::test]
async fn a_change_that_a_death_makes_impossible_while_it_waits_is_refused() {
    let (mut owner, dir) = at_a_closed_gate().await;
    let heard = owner.ask(&move_to("d2", "s1"), None);
    refuse(&mut owner, "s1");
    owner.replan().await;
    open_the_gate(dir.path());
    owner.until_written().await;
    let answer = heard.await.unwrap();
    assert!(matches!(answer, Err(ChangeError::Refused(_))), "{answer:?}");
    assert_eq!(owner.spec.devices["d2"].association.server, "s2");
    assert_eq!(generation_on_disk(&owner.kernel.state_dir), owner.spec.generation);
}

#[tokio::test]
async fn changes_that_wait_go_to_disk_together_and_in_their_order() {
    let (mut owner, dir) = at_a_closed_gate().await;
    let seen = owner.spec.generation;
    let first = owner.ask(&move_to("d1", "s2"), Some(seen));
    let mut later = Vec::new();
    for (device, server) in [("d1", "s3"), ("d2", "s3"), ("d3", "s1"), ("d3", "nobody")] {
        later.push(owner.ask(&move_to(device, server), None));
    }
    let stale = owner.ask(&move_to("d3", "s2"), Some(seen));
    open_the_gate(dir.path());
    owner.until_written().await;
    assert_eq!(first.await.unwrap().unwrap().generation, seen + 1);
    let mut answers = Vec::new();
    for one in later {
        answers.push(one.await.unwrap());
    }
    assert!(matches!(answers.pop(), Some(Err(ChangeError::Refused(_)))));
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(matches!(stale.await.unwrap(), Err(ChangeError::Stale { .. })));
    let servers = owner.spec.devices.values().map(|device| &*device.association.server);
    assert_eq!(servers.collect::<Vec<_>>(), ["s3", "s3", "s1"]);
    assert_eq!(owner.kernel.writes.len(), 2, "one commit each: {:?}", owner.kernel.writes);
}
