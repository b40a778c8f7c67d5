//! Open flows to echo servers, each asking "who are you?" again and again.
//!
//! A flow has one server for its whole life. An answer from another server, a reset, an end or a
//! silence is kept with the flow; whether it breaks a promise (the server lives) is the scenario's
//! to judge, which knows what it did to whom.

use std::net::SocketAddr;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::netns::{Namespace, enter_thread};
use crate::wait;

/// Time between two questions of one flow.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// Without an answer for this long a flow counts as silent. Beyond several retransmissions.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// A new flow must be open and answered within this; a lost SYN is sent again after 1 s.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// How a flow ended before it was told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its client got a reset or another error.
    Broken(String),
    /// Its server closed it.
    Closed,
    /// No answer came in time.
    Silent,
}

/// What a flow does after its greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It asks every 20 ms.
    Asks,
    /// It says nothing more and waits to be told something.
    Waits,
}

/// One flow, as its client sees it.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The service address it was opened to.
    pub address: SocketAddr,
    /// The client's end.
    pub local: SocketAddr,
    /// The server that answered first.
    pub server: String,
    /// Questions answered.
    pub answers: u64,
    /// Answers that named another server or another connection.
    pub strays: Vec<String>,
    /// How and when it ended, if it did by itself.
    pub end: Option<(End, Instant)>,
    /// Its client was told to close it.
    is_given_up: bool,
}

enum Request {
    Open(SocketAddr, Manner, std_mpsc::Sender<Result<Flow>>),
}

/// Flows of one client. Dropping this closes them.
pub struct Flows {
    requests: mpsc::UnboundedSender<Request>,
    flows: Arc<Mutex<Vec<Flow>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Flows {
    /// Prepares to open flows from `client`.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn from(client: &Namespace) -> Result<Self> {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let flows = Arc::new(Mutex::new(Vec::new()));
        let path = client.path();
        let (ready, readied) = std_mpsc::channel();
        let shared = Arc::clone(&flows);
        let thread = thread::Builder::new().name("flows".into()).spawn(move || {
            let runtime = enter_thread(&path).and_then(|()| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_all().build().context("a runtime for flows")
            });
            match runtime {
                Ok(runtime) => {
                    let _ = ready.send(Ok(()));
                    runtime.block_on(serve_requests(inbox, shared, stopped));
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
        readied.recv().context("the thread of the flows has ended")??;
        Ok(Self { requests, flows, stop, thread: Some(thread) })
    }

    /// Opens a flow and returns it as it began. It asks on until it ends or [`Flows::close`].
    ///
    /// # Errors
    /// When no server answers within 5 s.
    pub fn open(&self, address: SocketAddr) -> Result<Flow> {
        self.open_as(address, Manner::Asks)
    }

    /// The same of a flow that behaves as it is told.
    ///
    /// # Errors
    /// As [`Flows::open`].
    pub fn open_as(&self, address: SocketAddr, manner: Manner) -> Result<Flow> {
        let (reply, answer) = std_mpsc::channel();
        self.requests
            .send(Request::Open(address, manner, reply))
            .map_err(|_| anyhow!("the thread of the flows has ended"))?;
        answer.recv().context("the thread of the flows has ended")?
    }

    /// Lets the client of a flow that asks close it, instead of its next question.
    pub fn give_up(&self, flow: &Flow) {
        let mut flows = lock(&self.flows);
        let known = flows.iter_mut().rev().find(|known| known.local == flow.local);
        if let Some(known) = known {
            known.is_given_up = true;
        }
    }

    /// All flows as they are now, in the order in which they were opened.
    pub fn look(&self) -> Vec<Flow> {
        lock(&self.flows).clone()
    }

    /// Closes all flows and returns them as they were.
    pub fn close(mut self) -> Vec<Flow> {
        self.end();
        self.look()
    }

    fn end(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the thread of the flows panicked");
        }
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(flows: &Mutex<Vec<Flow>>) -> MutexGuard<'_, Vec<Flow>> {
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve_requests(
    mut inbox: mpsc::UnboundedReceiver<Request>,
    flows: Arc<Mutex<Vec<Flow>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let request = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            request = inbox.recv() => request,
        };
        let Some(Request::Open(address, manner, reply)) = request else { break };
        let flows = Arc::clone(&flows);
        let stopped = stopped.clone();
        tasks.spawn(async move {
            match open(address).await {
                Ok((flow, stream)) => {
                    let index = {
                        let mut flows = lock(&flows);
                        flows.push(flow.clone());
                        flows.len() - 1
                    };
                    let _ = reply.send(Ok(flow));
                    match manner {
                        Manner::Asks => ask_on(stream, index, &flows, stopped).await,
                        Manner::Waits => wait_on(stream, index, &flows, stopped).await,
                    }
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

type Stream = BufReader<TcpStream>;

/// Opens a flow and takes the greeting.
async fn open(address: SocketAddr) -> Result<(Flow, Stream)> {
    let opening = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).await?;
        let server = greeting.trim_end().to_owned();
        if server.is_empty() {
            bail!("closed without a greeting");
        }
        let (strays, end) = (Vec::new(), None);
        let flow = Flow { address, local, server, answers: 1, strays, end, is_given_up: false };
        Ok((flow, stream))
    };
    match timeout(OPEN_WITHIN, opening).await {
        Ok(opened) => opened.with_context(|| format!("open a flow to {address}")),
        Err(_) => bail!("open a flow to {address}: no answer within {OPEN_WITHIN:?}"),
    }
}

async fn ask_on(
    mut stream: Stream,
    index: usize,
    flows: &Mutex<Vec<Flow>>,
    mut stopped: watch::Receiver<bool>,
) {
    let expected = lock(flows)[index].server.clone();
    let mut beat = interval(ASK_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            _ = beat.tick() => {}
        }
        if lock(flows)[index].is_given_up {
            return;
        }
        let answer = timeout(ANSWER_WITHIN, ask(&mut stream)).await;
        let mut flows = lock(flows);
        let flow = &mut flows[index];
        let end = match answer {
            Ok(Ok(answer)) if answer.is_empty() => End::Closed,
            Ok(Ok(answer)) => {
                flow.answers += 1;
                if answer != expected {
                    flow.strays.push(answer);
                }
                continue;
            }
            Ok(Err(error)) => End::Broken(error.to_string()),
            Err(_) => End::Silent,
        };
        flow.end = Some((end, wait::now()));
        return;
    }
}

/// Listens until something is heard. A server that was asked nothing has nothing to say.
async fn wait_on(
    mut stream: Stream,
    index: usize,
    flows: &Mutex<Vec<Flow>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut heard = String::new();
    let outcome = tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => return,
        outcome = stream.read_line(&mut heard) => outcome,
    };
    let mut flows = lock(flows);
    let flow = &mut flows[index];
    let end = match outcome {
        Ok(0) => End::Closed,
        Ok(_) => {
            flow.strays.push(heard);
            return;
        }
        Err(error) => End::Broken(error.to_string()),
    };
    flow.end = Some((end, wait::now()));
}

async fn ask(stream: &mut Stream) -> std::io::Result<String> {
    stream.get_mut().write_all(b"who\n").await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(answer.trim_end().to_owned())
}

impl Flow {
    /// Name of the server it is on, without the connection's id.
    pub fn server_name(&self) -> &str {
        server_name(&self.server)
    }

    /// What this flow suffered that no flow of a living server may suffer.
    pub fn violations(&self) -> Vec<String> {
        let of = format!("flow {} -> {} on {}", self.local, self.address, self.server);
        let mut violations: Vec<String> =
            self.strays.iter().map(|stray| format!("{of}: answered by {stray}")).collect();
        if let Some((end, _)) = &self.end {
            violations
                .push(format!("{of}: ended by itself after {} answers: {end:?}", self.answers));
        }
        violations
    }
}

/// The server's name in an echo server's answer.
pub fn server_name(answer: &str) -> &str {
    answer.split_whitespace().next().unwrap_or(answer)
}

/// Time between two attempts of [`first_served`].
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5);
/// An attempt of [`first_served`] is given up after this.
const ATTEMPT_WITHIN: Duration = Duration::from_millis(400);

/// A connection that was served.
#[derive(Debug, Clone)]
pub struct Served {
    /// When the first bytes came.
    pub at: Instant,
    /// These bytes.
    pub greeting: String,
}

/// Begins a new connection to `address` every 5 ms until one is greeted by a server whose greeting
/// `counts`. Each attempt is a connection of its own, so the result does not depend on where the
/// second's rest of a SYN's retransmission falls.
///
/// # Errors
/// When none is served within `within`.
pub fn first_served(
    client: &Namespace,
    address: SocketAddr,
    counts: impl Fn(&str) -> bool + Send + Sync,
    within: Duration,
) -> Result<Served> {
    client.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (greeted, mut greetings) = mpsc::unbounded_channel();
            let attempts = async {
                let mut beat = interval(ATTEMPT_INTERVAL);
                beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    beat.tick().await;
                    let greeted = greeted.clone();
                    tokio::spawn(async move {
                        if let Ok(Ok(served)) = timeout(ATTEMPT_WITHIN, attempt(address)).await {
                            let _ = greeted.send(served);
                        }
                    });
                }
            };
            let first = async {
                while let Some(served) = greetings.recv().await {
                    if counts(&served.greeting) {
                        return Some(served);
                    }
                }
                None
            };
            tokio::select! {
                () = attempts => bail!("the attempts ended"),
                first = timeout(within, first) => first
                    .ok()
                    .flatten()
                    .with_context(|| format!("{address} was not served within {within:?}")),
            }
        })
    })
}

async fn attempt(address: SocketAddr) -> Result<Served> {
    let mut stream = TcpStream::connect(address).await?;
    let mut greeting = [0; 64];
    let len = stream.read(&mut greeting).await?;
    anyhow::ensure!(len > 0, "closed without a greeting");
    let greeting = String::from_utf8_lossy(&greeting[..len]).trim_end().to_owned();
    Ok(Served { at: wait::now(), greeting })
}
