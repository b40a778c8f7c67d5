//! Asks servers for figures about their load: metrics over HTTP, and the line of an agent over TCP.
//!
//! Each source is asked by a task of its own, every so often, with a time limit and a limit on what
//! is read. What an answer means is not known here.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::clock::Clock;
use crate::core::load::agent::LINE_LEN_MAX;
use crate::core::load::exporter::TEXT_LEN_MAX;
use crate::core::load::source::{LoadSources, MetricsUrl};
use crate::core::outlook::server::Origin;
use crate::core::spec::Name;

/// Questions in flight at most; further ones wait.
const IN_FLIGHT_MAX: usize = 32;

/// When to ask and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapeTiming {
    /// From one question to the next.
    pub interval: Duration,
    /// How long an answer may take, all of it.
    pub timeout: Duration,
}

/// What a source has said, or why it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Which server.
    pub server: Name,
    /// Which of its sources.
    pub origin: Origin,
    /// Which task asked; see [`Scraper::is_current`].
    pub serial: u64,
    /// When the answer was there: ms since the Unix epoch.
    pub at_ms: u64,
    /// Its bytes, or what went wrong in words.
    pub said: Result<Vec<u8>, String>,
}

/// Where to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Metrics(MetricsUrl),
    Agent(SocketAddr),
}

/// All sources that are being asked.
#[derive(Debug)]
pub struct Scraper {
    asker: Asker,
    tasks: BTreeMap<(Name, Origin), Task>,
    next_serial: u64,
}

/// What the tasks share.
#[derive(Debug, Clone)]
struct Asker {
    timing: ScrapeTiming,
    clock: Clock,
    client: reqwest::Client,
    turns: Arc<Semaphore>,
    samples: mpsc::Sender<Sample>,
}

#[derive(Debug)]
struct Task {
    source: Source,
    serial: u64,
    abort: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Scraper {
    /// Nobody is asked yet. Answers will come over `samples`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        timing: ScrapeTiming,
        clock: Clock,
        samples: mpsc::Sender<Sample>,
    ) -> reqwest::Result<Self> {
        // Figures come from the address that was given: through no proxy, and from nowhere else.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timing.timeout)
            .pool_max_idle_per_host(1)
            // Sources speak plain HTTP.
            .tls_built_in_root_certs(false)
            .build()?;
        let turns = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let asker = Asker { timing, clock, client, turns, samples };
        Ok(Self { asker, tasks: BTreeMap::new(), next_serial: 1 })
    }

    /// Asks these sources from now on, and no others. Those that stay go on undisturbed. Must be
    /// called within a tokio runtime.
    pub fn set_sources<'a>(&mut self, all: impl Iterator<Item = (&'a Name, &'a LoadSources)>) {
        let mut wanted = BTreeMap::new();
        for (name, sources) in all {
            if let Some(url) = &sources.metrics_url {
                wanted.insert((name.clone(), Origin::Metrics), Source::Metrics(url.clone()));
            }
            if let Some(address) = sources.agent_address {
                wanted.insert((name.clone(), Origin::Agent), Source::Agent(address));
            }
        }
        self.tasks.retain(|whose, task| wanted.get(whose) == Some(&task.source));
        for (whose, source) in wanted {
            if self.tasks.contains_key(&whose) {
                continue;
            }
            let serial = self.next_serial;
            self.next_serial += 1;
            let ask = ask_on(self.asker.clone(), whose.clone(), serial, source.clone());
            let abort = tokio::spawn(ask).abort_handle();
            self.tasks.insert(whose, Task { source, serial, abort });
        }
    }

    /// Whether a sample is of a source that is being asked now.
    #[must_use]
    pub fn is_current(&self, sample: &Sample) -> bool {
        let whose = (sample.server.clone(), sample.origin);
        self.tasks.get(&whose).is_some_and(|task| task.serial == sample.serial)
    }
}

/// Asks one source for ever.
async fn ask_on(asker: Asker, (server, origin): (Name, Origin), serial: u64, source: Source) {
    let mut ticks = interval(asker.timing.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(turn) = asker.turns.acquire().await else { return };
        let asked = tokio::time::timeout(asker.timing.timeout, ask(&asker.client, &source)).await;
        drop(turn);
        let timeout_ms = asker.timing.timeout.as_millis();
        let said = asked.unwrap_or_else(|_| Err(format!("no whole answer within {timeout_ms} ms")));
        let at_ms = asker.clock.now_ms();
        let sample = Sample { server: server.clone(), origin, serial, at_ms, said };
        if asker.samples.send(sample).await.is_err() {
            return;
        }
    }
}

async fn ask(client: &reqwest::Client, source: &Source) -> Result<Vec<u8>, String> {
    match source {
        Source::Metrics(url) => metrics(client, url).await,
        Source::Agent(address) => agent(*address).await.map_err(|error| error.to_string()),
    }
}

async fn metrics(client: &reqwest::Client, url: &MetricsUrl) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string()
    };
    let mut answer = client.get(url.to_string()).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(format!("the answer is {}", answer.status()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if text.len() + chunk.len() > TEXT_LEN_MAX {
            return Err(format!("the answer is longer than {TEXT_LEN_MAX} bytes"));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// What the agent says up to the end of its line, or of the connection, or of our patience with
/// long lines.
async fn agent(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let mut line = Vec::new();
    let mut some = [0; LINE_LEN_MAX];
    loop {
        let len = stream.read(&mut some[..LINE_LEN_MAX - line.len()]).await?;
        line.extend_from_slice(&some[..len]);
        if len == 0 || line.contains(&b'\n') || line.len() >= LINE_LEN_MAX {
            return Ok(line);
        }
    }
}

#[cfg(test)]
impl Scraper {
    /// A scraper whose answers nobody takes.
    pub(crate) fn mute(clock: Clock) -> Self {
        let timing =
            ScrapeTiming { interval: Duration::from_secs(3600), timeout: Duration::from_secs(1) };
        let (samples, _) = mpsc::channel(1);
        Self::new(timing, clock, samples).expect("an HTTP client")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// The first thing said by a source whose server answers with `answer` and then leaves.
    async fn first(origin: Origin, answer: Vec<u8>, leave: bool) -> Sample {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_silent = answer.is_empty();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            if origin == Origin::Metrics {
                let _ = stream.read(&mut [0; 1024]).await;
            }
            let _ = stream.write_all(&answer).await;
            if !leave {
                std::future::pending::<()>().await;
            }
        });
        let sources = match origin {
            Origin::Metrics => LoadSources {
                metrics_url: Some(format!("http://{address}/metrics").parse().unwrap()),
                ..LoadSources::default()
            },
            Origin::Agent => LoadSources { agent_address: Some(address), ..LoadSources::default() },
        };
        let (samples, mut said) = mpsc::channel(4);
        // Time enough on a busy machine, unless running out of it is what is tested.
        let timeout = Duration::from_millis(if leave || !is_silent { 20_000 } else { 300 });
        let timing = ScrapeTiming { interval: Duration::from_secs(3600), timeout };
        let mut scraper = Scraper::new(timing, Clock::start(), samples).unwrap();
        scraper.set_sources([(&"s1".to_owned(), &sources)].into_iter());
        let sample = said.recv().await.unwrap();
        assert!(scraper.is_current(&sample));
        scraper.set_sources(std::iter::empty());
        assert!(!scraper.is_current(&sample));
        sample
    }

    #[tokio::test]
    async fn an_agents_line_ends_with_the_line_or_the_connection() {
        let said = first(Origin::Agent, b"75%\nmore".to_vec(), false).await.said;
        assert_eq!(said, Ok(b"75%\nmore".to_vec()));
        assert_eq!(first(Origin::Agent, b"up".to_vec(), true).await.said, Ok(b"up".to_vec()));
        let long = first(Origin::Agent, vec![b'x'; 4 * LINE_LEN_MAX], false).await.said;
        assert_eq!(long.map(|line| line.len()), Ok(LINE_LEN_MAX));
    }

    #[tokio::test]
    async fn a_source_that_does_not_finish_in_time_is_a_fault() {
        for origin in [Origin::Agent, Origin::Metrics] {
            let said = first(origin, Vec::new(), false).await.said.unwrap_err();
            assert!(said.contains("300 ms") || said.contains("timed out"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_and_a_bad_status_or_endless_body_is_a_fault() {
        let answer = |status: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
            [head.as_bytes(), body].concat()
        };
        let good = first(Origin::Metrics, answer("200 OK", b"a 1\n"), true).await.said;
        assert_eq!(good, Ok(b"a 1\n".to_vec()));
        let moved = first(Origin::Metrics, answer("302 Found", b""), true).await.said;
        assert_eq!(moved, Err("the answer is 302 Found".to_owned()));
        let endless = answer("200 OK", &vec![b'x'; TEXT_LEN_MAX + 1]);
        let long = first(Origin::Metrics, endless, true).await.said.unwrap_err();
        assert!(long.contains("longer than"), "{long}");
    }
}
