//! A thousand requests in flight, of clients that are slow, broken or never satisfied: the control
//! loop keeps its period, servers are checked as before, and changes are answered.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::api::Api;
use redirector_tests::data_path::Version;
use redirector_tests::greeters::{API, Greeters};
use redirector_tests::netns::Namespace;
use redirector_tests::wait::{self, Look, Pace};
use reqwest::Method;

/// Connections that are open at a time.
const CROWD: usize = 1000;
/// How long is measured before, and with the crowd.
const MEASURED: Duration = Duration::from_secs(15);
const GATHERED_WITHIN: Duration = Duration::from_secs(60);
/// The loop looks at its counters twice a second; that look may be so late, with a build without
/// optimisation on a machine shared with others.
const LAG_MAX_S: f64 = 0.25;
/// A turn of the loop may be so long, and a share of them longer: of a machine shared with others.
const TURN_MAX: &str = "0.05";
const LONG_TURNS_MAX: f64 = 0.05;
/// A change, with the crowd there.
const CHANGED_WITHIN: Duration = Duration::from_secs(3);

/// What a client does; each is a fifth of the crowd.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Its head never ends: a byte now and then.
    SlowHead,
    /// Its body never ends.
    HalfBody,
    /// It asks for more than fits into the socket, and reads nothing.
    NeverReads,
    /// It follows the events.
    Follows,
    /// It speaks no HTTP.
    Garbage,
}

const MANNERS: [Manner; 5] =
    [Manner::SlowHead, Manner::HalfBody, Manner::NeverReads, Manner::Follows, Manner::Garbage];

impl Manner {
    fn begins(self) -> Vec<u8> {
        match self {
            Self::SlowHead => b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nx-slow: ".to_vec(),
            Self::HalfBody => b"PUT /v1/associations/disk HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"server\":"
                .to_vec(),
            Self::NeverReads => b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20),
            Self::Follows => b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\
                accept: text/event-stream\r\n\r\n"
                .to_vec(),
            Self::Garbage => b"\x16\x03\x01 neither TLS nor HTTP".to_vec(),
        }
    }
}

/// One thread for all clients of a manner: each is begun anew as soon as the daemon is rid of it.
struct Crowd {
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Crowd {
    fn gather(at: &Namespace) -> Self {
        let (stop, begun) = (Arc::default(), Arc::default());
        let threads = MANNERS
            .into_iter()
            .map(|manner| {
                let path = at.path();
                let (stop, begun) = (Arc::clone(&stop), Arc::clone(&begun));
                thread::spawn(move || {
                    redirector_tests::netns::enter_thread(&path)?;
                    behave(manner, &stop, &begun)
                })
            })
            .collect();
        Self { stop, begun, threads }
    }

    fn leave(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a client of the crowd panicked"))??;
        }
        Ok(())
    }
}

fn behave(manner: Manner, stop: &AtomicBool, begun: &AtomicU64) -> Result<()> {
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut pace = Pace::every(Duration::from_millis(200));
    while !stop.load(Ordering::Relaxed) {
        streams.retain_mut(|stream| is_open(manner, stream));
        while streams.len() < CROWD / MANNERS.len() {
            let mut stream = TcpStream::connect(API).context("join the crowd")?;
            stream.set_nonblocking(true)?;
            // One that is refused at once is begun anew in the next round.
            let _ = stream.write_all(&manner.begins());
            streams.push(stream);
            begun.fetch_add(1, Ordering::Relaxed);
        }
        pace.beat();
    }
    Ok(())
}

/// Does what the manner wants, and says whether the daemon still has the connection open.
fn is_open(manner: Manner, stream: &mut TcpStream) -> bool {
    if matches!(manner, Manner::SlowHead) && stream.write_all(b"x").is_err() {
        return false;
    }
    if matches!(manner, Manner::NeverReads) {
        // An empty line before a request is no request (RFC 9112, section 2.2).
        return stream.write_all(b"\r\n").is_ok();
    }
    let mut heard = [0; 4096];
    match stream.read(&mut heard) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// What is measured over a while.
#[derive(Debug)]
struct Measured {
    lags_s: Vec<f64>,
    checks_per_s: f64,
    turns_per_s: f64,
    /// How long a turn of the loop took on average.
    turn_s: f64,
    /// The share of turns that were longer than [`TURN_MAX`].
    long_turns: f64,
}

impl Measured {
    fn lag_max_s(&self) -> f64 {
        self.lags_s.iter().copied().fold(0.0, f64::max)
    }

    fn text(&self) -> String {
        format!(
            "at most {:.1} ms late, {:.0} turns a second of {:.2} ms, {:.2} % of them \
             over {TURN_MAX} s, {:.1} checks a second",
            1000.0 * self.lag_max_s(),
            self.turns_per_s,
            1000.0 * self.turn_s,
            100.0 * self.long_turns,
            self.checks_per_s
        )
    }
}

/// Sums of what the daemon counts of itself: checks, turns, their seconds, and the short ones.
fn counted(text: &str) -> [f64; 4] {
    let short = format!("redirector_loop_turn_seconds_bucket{{le=\"{TURN_MAX}\"}}");
    [
        "redirector_server_checks_total{",
        "redirector_loop_turn_seconds_count",
        "redirector_loop_turn_seconds_sum",
        &short,
    ]
    .map(|name| metric(text, name))
}

fn metric(text: &str, name: &str) -> f64 {
    let of_it = text.lines().filter(|line| line.starts_with(name));
    of_it.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn metrics(api: &Api) -> Result<String> {
    let answer = api.send(Method::GET, "/metrics", &[], Vec::new())?;
    ensure!(answer.status == 200, "{answer:?}");
    answer.body.as_str().map(str::to_owned).context("no text")
}

fn measure(api: &Api) -> Result<Measured> {
    let (began, first) = (wait::now(), counted(&metrics(api)?));
    let (mut pace, mut lags_s) = (Pace::every(Duration::from_millis(250)), Vec::new());
    let mut last = first;
    while wait::now().saturating_duration_since(began) < MEASURED {
        pace.beat();
        let text = metrics(api)?;
        lags_s.push(metric(&text, "redirector_loop_lag_seconds "));
        last = counted(&text);
    }
    let seconds = wait::now().saturating_duration_since(began).as_secs_f64();
    let [checks, turns, turns_s, short] = [0, 1, 2, 3].map(|at| last[at] - first[at]);
    ensure!(turns > 0.0 && short > 0.0, "the loop did not turn: {first:?}, then {last:?}");
    Ok(Measured {
        lags_s,
        checks_per_s: checks / seconds,
        turns_per_s: turns / seconds,
        turn_s: turns_s / turns,
        long_turns: 1.0 - short / turns,
    })
}

#[test]
fn a_thousand_slow_and_broken_clients_leave_the_control_loop_as_it_is() -> Result<()> {
    let mut site = Greeters::start(Version::V4, "")?;
    let api = site.redirector.api()?;
    let before = measure(&api)?;
    let crowd = Crowd::gather(&site.gateway);
    wait::until("the crowd to gather", GATHERED_WITHIN, || {
        let begun = crowd.begun.load(Ordering::Relaxed);
        let all = begun >= CROWD as u64;
        Ok(if all { Look::Done(()) } else { Look::NotYet(begun.to_string()) })
    })?;
    let with = measure(&api)?;
    let begun = wait::now();
    api.move_device("disk", "s2")?;
    let socket_took = wait::now().saturating_duration_since(begun);
    // The port has places beyond the crowd's.
    let begun = wait::now();
    let port = format!("http://{API}");
    let mut command = site.gateway.command(&site.redirector.program().to_string_lossy());
    let output = command.args(["--api", &port, "device", "move", "disk", "--to", "s1"]).output()?;
    let port_took = wait::now().saturating_duration_since(begun);
    ensure!(output.status.success(), "{output:?}");
    let connections = site.gateway.connections_at(API.port())?.len();
    let clients = crowd.begun.load(Ordering::Relaxed);
    crowd.leave()?;

    let events = api.events(0)?;
    let accused = events.iter().find(|event| matches!(&*event.kind, "server_dead" | "frozen"));
    println!("without the crowd {}", before.text());
    println!("with {connections} connections ({clients} begun) {}", with.text());
    println!("a change over the socket {socket_took:?}, by the port {port_took:?}");
    ensure!(accused.is_none(), "{accused:?}");
    ensure!(connections >= 700, "only {connections} connections were open");
    ensure!(with.lag_max_s() < LAG_MAX_S, "the loop was late: {with:?}");
    ensure!(with.long_turns < LONG_TURNS_MAX, "turns were long: {with:?}");
    ensure!(with.checks_per_s > 0.8 * before.checks_per_s, "{before:?}, then {with:?}");
    ensure!(socket_took < CHANGED_WITHIN && port_took < CHANGED_WITHIN);
    site.redirector.stop()
}
