//! Connections that were begun while their server was dead and nobody knew are made with the
//! survivor as soon as somebody does, not when their clients ask again after a second.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redirector_tests::fault::Fault;
use redirector_tests::flows::{Flows, server_name};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::netns::Namespace;
use redirector_tests::wait;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

/// Connections, one every 2 ms, while the server dies.
const CONNECTIONS: u32 = 200;
const EVERY: Duration = Duration::from_millis(2);
/// Long enough for a client's own repetitions, which are what must not have helped.
const WITHIN: Duration = Duration::from_secs(5);
/// Who waited for so long began after the death and before its discovery, which may follow
/// within 20 ms.
const WAITED: Duration = Duration::from_millis(8);

struct Made {
    greeting: String,
    took: Duration,
}

#[test]
fn syns_to_a_dead_server_go_to_the_survivor_before_their_clients_repeat_them() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let address = lab.device("echo-a")?.service();
    let victim = lab.api()?.device("echo-a")?.association.server;
    let busy = Flows::from(lab.client("c1")?)?;
    for _ in 0..4 {
        busy.open(address)?;
    }
    let client = lab.client("c2")?.path();
    let before = syns_repeated(lab.client("c2")?)?;
    let connections = std::thread::spawn(move || connect(&client, address));
    Fault::Freeze.inject(&mut lab, &victim)?;
    let made = connections.join().expect("no panic")?;
    let waited: Vec<&Made> = made
        .iter()
        .filter(|made| made.took > WAITED && server_name(&made.greeting) != victim)
        .collect();
    let longest = waited.iter().map(|made| made.took).max();
    println!("{} of {} waited, {longest:?} at most", waited.len(), made.len());
    ensure!(waited.len() >= 3, "only {} connections met the dead server", waited.len());
    let repeated = syns_repeated(lab.client("c2")?)? - before;
    assert_eq!(repeated, 0, "clients had to ask again; the longest took {longest:?}");
    Ok(())
}

/// Begins a connection every 2 ms; gives those that were greeted.
fn connect(client: &std::path::Path, address: std::net::SocketAddr) -> Result<Vec<Made>> {
    redirector_tests::netns::enter_thread(client)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut beat = interval(EVERY);
        let mut attempts = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            beat.tick().await;
            attempts.spawn(timeout(WITHIN, attempt(address)));
        }
        let ended = attempts.join_all().await;
        Ok(ended.into_iter().filter_map(|ended| ended.ok()?.ok()).collect())
    })
}

async fn attempt(address: std::net::SocketAddr) -> Result<Made> {
    let began: Instant = wait::now();
    let mut stream = TcpStream::connect(address).await?;
    let took = began.elapsed();
    let mut greeting = [0; 64];
    let len = stream.read(&mut greeting).await?;
    ensure!(len > 0, "closed without a greeting");
    Ok(Made { greeting: String::from_utf8_lossy(&greeting[..len]).trim_end().to_owned(), took })
}

/// SYNs that a host's kernel has sent again so far.
fn syns_repeated(host: &Namespace) -> Result<u64> {
    let text = host.enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/netstat")?))?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let of = names.split_whitespace().zip(values.split_whitespace());
    let value = of.into_iter().find(|(name, _)| *name == "TCPSynRetrans");
    value.context("TCPSynRetrans")?.1.parse().context("a number")
}
