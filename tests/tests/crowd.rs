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

/// Requests that must be unfinished at a time, half of the time at least.
const IN_FLIGHT: u64 = 1000;
/// How long is measured before, and with the crowd.
const MEASURED: Duration = Duration::from_secs(20);
const GATHERED_WITHIN: Duration = Duration::from_secs(60);
/// A turn of the loop may be so long, and a share of them longer: of a machine shared with others.
const TURN_MAX: &str = "0.05";
const LONG_TURNS_MAX: f64 = 0.05;
/// What is left of the checks, whose clients share the processors with the crowd.
const CHECKS_MIN: f64 = 0.5;
/// What sockets of the gateway hold at most, so that an answer which nobody reads stays unfinished.
const SOCKET_LEN_MAX: [(&str, &str); 2] =
    [("net/ipv4/tcp_wmem", "4096 16384 32768"), ("net/ipv4/tcp_rmem", "4096 8192 16384")];
/// Longer than both ends of a connection hold together.
const ANSWER_LEN_MIN: usize = 100_000;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Its head never ends: a byte now and then.
    SlowHead,
    /// Its body never ends.
    HalfBody,
    /// It asks for more than fits into the socket, and reads nothing.
    NeverReads,
    /// It waits for a generation that does not come.
    Waits,
    /// It follows the events.
    Follows,
    /// It speaks no HTTP.
    Garbage,
}

/// How many of each there are: together less than the port has places.
const CROWD: [(Manner, usize); 6] = [
    (Manner::SlowHead, 30),
    (Manner::HalfBody, 345),
    (Manner::NeverReads, 345),
    (Manner::Waits, 345),
    (Manner::Follows, 32),
    (Manner::Garbage, 20),
];

impl Manner {
    fn begins(self) -> &'static [u8] {
        match self {
            Self::SlowHead => b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
            Self::HalfBody => {
                b"PUT /v1/associations/disk HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"server\":"
            }
            Self::NeverReads => b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n",
            Self::Waits => {
                b"GET /v1/status?wait_generation=1000000&wait_ms=15000 HTTP/1.1\r\n\
                host: localhost\r\n\r\n"
            }
            Self::Follows => {
                b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n"
            }
            Self::Garbage => b"\x16\x03\x01 neither TLS nor HTTP",
        }
    }
}

/// One thread for all clients of a manner: each is begun anew as soon as it has been answered or
/// the daemon is rid of it.
struct Crowd {
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
    /// Of each manner, requests that were unfinished at the last look.
    unfinished: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Crowd {
    fn gather(at: &Namespace) -> Self {
        let (stop, begun): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let (mut unfinished, mut threads) = (Vec::new(), Vec::new());
        for of in CROWD {
            let path = at.path();
            let (stop, begun, seen) = (Arc::clone(&stop), Arc::clone(&begun), Arc::default());
            unfinished.push(Arc::clone(&seen));
            threads.push(thread::spawn(move || {
                redirector_tests::netns::enter_thread(&path)?;
                behave(of, &stop, &begun, &seen)
            }));
        }
        Self { stop, begun, unfinished, threads }
    }

    fn unfinished(&self) -> u64 {
        self.unfinished.iter().map(|of| of.load(Ordering::Relaxed)).sum()
    }

    fn leave(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a client of the crowd panicked"))??;
        }
        Ok(())
    }
}

fn behave(
    (manner, len): (Manner, usize),
    stop: &AtomicBool,
    begun: &AtomicU64,
    unfinished: &AtomicU64,
) -> Result<()> {
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut pace = Pace::every(Duration::from_millis(200));
    while !stop.load(Ordering::Relaxed) {
        let mut waiting_len = 0;
        streams.retain_mut(|stream| match standing(manner, stream) {
            Standing::Unfinished => {
                waiting_len += 1;
                true
            }
            Standing::Open => true,
            Standing::Over => false,
        });
        unfinished.store(waiting_len, Ordering::Relaxed);
        while streams.len() < len {
            let mut stream = TcpStream::connect(API).context("join the crowd")?;
            stream.set_nonblocking(true)?;
            // One that is refused at once is begun anew in the next round.
            let _ = stream.write_all(manner.begins());
            streams.push(stream);
            begun.fetch_add(1, Ordering::Relaxed);
        }
        pace.beat();
    }
    Ok(())
}

/// How it stands with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A request is made, and its answer is not over.
    Unfinished,
    /// It is open, without such a request.
    Open,
    /// The daemon has closed it, or answered.
    Over,
}

/// Does what the manner wants, and says how it stands.
fn standing(manner: Manner, stream: &mut TcpStream) -> Standing {
    let mut heard = [0; 4096];
    let heard_len = match manner {
        Manner::SlowHead if stream.write_all(b"x").is_err() => return Standing::Over,
        Manner::NeverReads => stream.peek(&mut heard[..12]),
        _ => stream.read(&mut heard),
    };
    let heard = match &heard_len {
        Ok(0) => return Standing::Over,
        Ok(len) => &heard[..*len],
        Err(error) if error.kind() == ErrorKind::WouldBlock => &[],
        Err(_) => return Standing::Over,
    };
    match manner {
        Manner::HalfBody | Manner::Waits if heard.is_empty() => Standing::Unfinished,
        // More is to come than a socket holds.
        Manner::NeverReads if heard == b"HTTP/1.1 200" => Standing::Unfinished,
        Manner::HalfBody | Manner::Waits => Standing::Over,
        _ => Standing::Open,
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
    /// Requests in flight, at each look.
    unfinished: Vec<u64>,
}

impl Measured {
    fn lag_max_s(&self) -> f64 {
        self.lags_s.iter().copied().fold(0.0, f64::max)
    }

    fn lag_median_s(&self) -> f64 {
        let mut lags_s = self.lags_s.clone();
        lags_s.sort_unstable_by(f64::total_cmp);
        lags_s.get(lags_s.len() / 2).copied().unwrap_or_default()
    }

    /// Requests in flight: most at a time, and at least so many half of the time.
    fn in_flight(&self) -> (u64, u64) {
        let mut seen = self.unfinished.clone();
        seen.sort_unstable();
        (seen.last().copied().unwrap_or_default(), seen.get(seen.len() / 2).copied().unwrap_or(0))
    }

    fn text(&self) -> String {
        format!(
            "{:.1} ms late at the median and {:.1} ms at most, {:.0} turns a second of {:.2} ms, \
             {:.2} % of them over {TURN_MAX} s, {:.1} checks a second",
            1000.0 * self.lag_median_s(),
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

fn measure(api: &Api, in_flight: impl Fn() -> u64) -> Result<Measured> {
    let (began, first) = (wait::now(), counted(&metrics(api)?));
    let mut pace = Pace::every(Duration::from_millis(250));
    let (mut lags_s, mut unfinished) = (Vec::new(), Vec::new());
    let mut last = first;
    while wait::now().saturating_duration_since(began) < MEASURED {
        pace.beat();
        unfinished.push(in_flight());
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
        unfinished,
    })
}

#[test]
fn a_thousand_requests_in_flight_leave_the_control_loop_as_it_is() -> Result<()> {
    let mut site = Greeters::start(Version::V4, "")?;
    for (key, value) in SOCKET_LEN_MAX {
        site.gateway.sysctl(key, value)?;
    }
    let api = site.redirector.api()?;
    let answer = api.send(Method::GET, "/openapi.json", &[], Vec::new())?;
    let answer_len = answer.body.to_string().len();
    ensure!(
        answer_len > ANSWER_LEN_MIN,
        "an answer of {answer_len} bytes may fit into the sockets"
    );
    let before = measure(&api, || 0)?;
    let crowd = Crowd::gather(&site.gateway);
    wait::until("the crowd to gather", GATHERED_WITHIN, || {
        let unfinished = crowd.unfinished();
        let all = unfinished >= IN_FLIGHT;
        Ok(if all { Look::Done(()) } else { Look::NotYet(unfinished.to_string()) })
    })?;
    let with = measure(&api, || crowd.unfinished())?;
    let begun = wait::now();
    api.move_device("disk", "s2")?;
    let socket_took = wait::now().saturating_duration_since(begun);
    // The port has places beyond the crowd's.
    let begun = wait::now();
    let port = format!("http://{API}");
    let mut command = site.gateway.command(site.redirector.program());
    let output = command.args(["--api", &port, "device", "move", "disk", "--to", "s1"]).output()?;
    let port_took = wait::now().saturating_duration_since(begun);
    ensure!(output.status.success(), "{output:?}");
    let connections = site.gateway.connections_at(API.port())?.len();
    let clients = crowd.begun.load(Ordering::Relaxed);
    crowd.leave()?;

    let events = api.events(0)?;
    let accused = events.iter().find(|event| matches!(&*event.kind, "server_dead" | "frozen"));
    let (most, median) = with.in_flight();
    println!("without the crowd {}", before.text());
    println!("with {connections} connections ({clients} begun) {}", with.text());
    println!("requests in flight: {median} at the median, {most} at most");
    println!("a change over the socket {socket_took:?}, by the port {port_took:?}");
    ensure!(accused.is_none(), "{accused:?}");
    ensure!(median >= IN_FLIGHT, "only {median} requests were in flight: {:?}", with.unfinished);
    ensure!(with.long_turns < LONG_TURNS_MAX, "turns were long: {with:?}");
    ensure!(with.checks_per_s > CHECKS_MIN * before.checks_per_s, "{before:?}, then {with:?}");
    site.redirector.stop()
}
