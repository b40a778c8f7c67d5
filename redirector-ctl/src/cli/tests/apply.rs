//! `redirector apply` beside others who change the same daemon.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;

use super::*;
use crate::api::devices::PutDevice;
use crate::core::change::Change;
use crate::daemon::DaemonHandle;

/// A lab whose daemon is changed by somebody else after each patch of devices.
struct Busy {
    directory: tempfile::TempDir,
    socket: PathBuf,
    /// What was asked, method and path, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Busy {
    async fn start<F>(others: fn(DaemonHandle, usize) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lab = Lab::new();
        let (asked, daemon) = (Arc::<Mutex<Vec<String>>>::default(), lab.daemon.clone());
        let log = Arc::clone(&asked);
        let watch = middleware::from_fn(move |request: Request, next: Next| {
            let (log, daemon) = (Arc::clone(&log), daemon.clone());
            async move {
                let is_patch = *request.method() == Method::PATCH;
                let patches_len = {
                    let mut log = log.lock().expect("nobody panics with it");
                    log.push(format!("{} {}", request.method(), request.uri()));
                    log.iter().filter(|line| line.starts_with("PATCH")).count()
                };
                let answer: Response = next.run(request).await;
                if is_patch && answer.status().is_success() {
                    others(daemon, patches_len).await;
                }
                answer
            }
        });
        let (directory, socket) = Lab::serve(lab.router.layer(watch)).await;
        Self { directory, socket, asked }
    }

    /// Applies a file with so many devices besides those that are there.
    async fn apply(&self, devices_len: u32) -> Ran {
        let exported = run(&self.socket, "--output json export").await;
        let mut desired: Value = serde_json::from_str(&exported.out).expect("it is JSON");
        for n in 0..devices_len {
            // Long enough for several requests.
            let check = json!({"kind": "http", "path": format!("/{}", "x".repeat(1000))});
            desired["devices"][format!("n{n:04}")] = json!({
                "address": format!("10.9.{}.{}", n >> 8, n & 255), "port": 80,
                "forwarding": "dsr", "servers": ["s1", "s2"], "check": check,
            });
        }
        let file = self.directory.path().join("site.json");
        std::fs::write(&file, desired.to_string()).expect("a file");
        self.asked.lock().expect("nobody panics with it").clear();
        run(&self.socket, &format!("apply {} --yes", file.display())).await
    }

    fn asked(&self, what: &str) -> usize {
        let asked = self.asked.lock().expect("nobody panics with it");
        asked.iter().filter(|line| *line == what || line.starts_with(&format!("{what}?"))).count()
    }
}

async fn set_backup(daemon: DaemonHandle, patches_len: usize) {
    let backup = if patches_len.is_multiple_of(2) { "s2" } else { "s3" };
    let backups = [("disk-a".to_owned(), Some(backup.to_owned()))].into();
    daemon.change(Change::SetBackups { backups }, None).await.expect("it may");
}

#[tokio::test]
async fn apply_goes_on_beside_a_daemon_that_decides_and_looks_only_at_what_is_next() {
    let busy = Busy::start(set_backup).await;
    let done = busy.apply(2000).await;
    assert_eq!((done.exit, done.err.as_str()), (Exit::Done, "2000 steps are done\n"));
    let patches = busy.asked("PATCH /v1/devices");
    assert!(patches > 4, "{patches} requests");
    let asked = busy.asked.lock().expect("nobody panics with it").clone();
    let from_the_start = asked.iter().filter(|line| *line == "GET /v1/devices").count();
    assert_eq!(from_the_start, 2, "before the first step and after the last: {asked:?}");
}

async fn add_what_is_next(daemon: DaemonHandle, patches_len: usize) {
    if patches_len == 1 {
        let snapshot = daemon.snapshot().await.expect("the daemon runs");
        let last = snapshot.spec.devices.keys().last().cloned().expect("some devices");
        let number: u32 = last[1..].parse().expect("a number");
        let name = format!("n{:04}", number + 1);
        let json = json!({"address": "10.8.0.1", "port": 80, "forwarding": "dsr",
            "servers": ["s1"]});
        let put: PutDevice = serde_json::from_value(json).expect("a device");
        let change = Change::PutDevice { name, device: put.into() };
        daemon.change(change, None).await.expect("it may");
    }
}

#[tokio::test]
async fn apply_stops_where_somebody_else_has_changed_what_is_next() {
    let busy = Busy::start(add_what_is_next).await;
    let stopped = busy.apply(1000).await;
    assert_eq!(stopped.exit, Exit::Failed, "{}", stopped.err);
    assert!(stopped.err.contains(" of 1000 steps are done; device n"), "{}", stopped.err);
    assert!(stopped.err.contains("somebody else has changed"), "{}", stopped.err);
    assert_eq!(busy.asked("PATCH /v1/devices"), 2, "one that was done and one that was refused");
}
