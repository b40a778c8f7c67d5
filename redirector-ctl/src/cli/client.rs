//! HTTP to the daemon, over its unix socket or a port.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{StatusCode, Url, header};

use super::args::{Address, Options};
use super::request::Request;
use crate::api::problem::ProblemBody;

/// Longest wait for an answer; the daemon itself gives up earlier and says so.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait until somebody takes the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence on a stream; the daemon says something more often.
const STREAM_TIMEOUT: Duration = Duration::from_secs(40);

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers.
    #[error(
        "cannot reach the daemon at {address}: {reason}\n  is it running (`redirector run`)? it \
         may also answer elsewhere: see --api and REDIRECTOR_API"
    )]
    Unreachable {
        /// Where it was sought.
        address: String,
        /// The innermost cause.
        reason: String,
    },
    /// What is to be shown to it cannot be.
    #[error("{0}")]
    Access(String),
    /// The daemon refuses, or cannot.
    #[error("{}", in_words(problem))]
    Refused {
        /// What it said.
        problem: Box<ProblemBody>,
        /// The same, unchanged.
        body: Vec<u8>,
    },
    /// Something answers, but not as the daemon would.
    #[error(
        "{address} does not answer like a redirector (status {status}): is it another program?"
    )]
    Strange {
        /// Where.
        address: String,
        /// The status of the answer.
        status: StatusCode,
    },
}

impl AskError {
    /// Whether something has changed since whoever asked last looked.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let stale = StatusCode::PRECONDITION_FAILED.as_u16();
        matches!(self, Self::Refused { problem, .. } if problem.status == stale)
    }
}

/// What is wrong and what to do; several mistakes one below the other.
fn in_words(problem: &ProblemBody) -> String {
    let alone = problem.problems.len() < 2;
    match &problem.field {
        Some(field) if alone => format!("{field}: {}", problem.detail),
        _ if alone => problem.detail.clone(),
        _ => {
            let lines = problem.problems.iter();
            let lines = lines.map(|each| format!("\n  {}: {}", each.field, each.detail));
            format!("{} mistakes:{}", problem.problems.len(), lines.collect::<String>())
        }
    }
}

/// A good answer.
pub(super) struct Answer {
    pub status: StatusCode,
    /// The generation that it is of, where it says so.
    pub generation: Option<u64>,
    pub body: Vec<u8>,
}

/// Sends a request; gives a good answer.
pub(super) async fn send(options: &Options, request: &Request) -> Result<Answer, AskError> {
    let address = &options.api;
    let failed = |error: reqwest::Error| AskError::Unreachable {
        address: address.to_string(),
        reason: innermost(&error),
    };
    let client = client(options)?.timeout(TIMEOUT).build().map_err(failed)?;
    let mut call = client.request(request.method.clone(), url(address, request));
    if let Some(body) = &request.body {
        call = call.json(body);
    }
    if request.only_new {
        call = call.header(header::IF_NONE_MATCH, "*");
    }
    if let Some(generation) = request.seen {
        call = call.header(header::IF_MATCH, format!("\"{generation}\""));
    }
    let answer = call.send().await.map_err(failed)?;
    let status = answer.status();
    let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let generation = tag.and_then(|tag| tag.trim_matches('"').parse().ok());
    let body = answer.bytes().await.map_err(failed)?.to_vec();
    if status.is_success() {
        return Ok(Answer { status, generation, body });
    }
    Err(refusal(address, status, body))
}

fn refusal(address: &Address, status: StatusCode, body: Vec<u8>) -> AskError {
    match serde_json::from_slice(&body) {
        Ok(problem) => AskError::Refused { problem: Box::new(problem), body },
        Err(_) => AskError::Strange { address: address.to_string(), status },
    }
}

/// An answer that comes bit by bit.
pub(super) struct Stream(reqwest::Response);

impl Stream {
    /// The next bytes; None at the end.
    pub async fn next(&mut self) -> reqwest::Result<Option<Vec<u8>>> {
        Ok(self.0.chunk().await?.map(Into::into))
    }
}

/// Opens the stream of events after number `after`, or after the one with the id `last_id`.
pub(super) async fn stream(
    options: &Options,
    after: u64,
    last_id: Option<&str>,
) -> Result<Stream, AskError> {
    let address = &options.api;
    let failed = |error: reqwest::Error| AskError::Unreachable {
        address: address.to_string(),
        reason: innermost(&error),
    };
    let client = client(options)?.read_timeout(STREAM_TIMEOUT).build().map_err(failed)?;
    let request = Request::stream(after);
    let mut call = client.get(url(address, &request)).header(header::ACCEPT, "text/event-stream");
    if let Some(id) = last_id {
        call = call.header("last-event-id", id);
    }
    let answer = call.send().await.map_err(failed)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(Stream(answer));
    }
    Err(refusal(address, status, answer.bytes().await.map_err(failed)?.to_vec()))
}

/// Whoever asks has said where the daemon is: no proxy of the environment is asked, no redirect
/// followed.
fn client(options: &Options) -> Result<reqwest::ClientBuilder, AskError> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    match &options.api {
        // Reading the system's authorities takes longer than most answers.
        Address::Unix(path) => {
            Ok(builder.unix_socket(path.as_path()).tls_built_in_root_certs(false))
        }
        Address::Http(url) => options.access.show_to(url, builder).map_err(AskError::Access),
    }
}

fn url(address: &Address, request: &Request) -> Url {
    let mut url = match address {
        Address::Unix(_) => Url::parse("http://localhost/").expect("this text is a URL"),
        Address::Http(url) => url.clone(),
    };
    url.set_path("/");
    url.set_query(None);
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear().extend(&request.path);
    }
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    url
}

fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}
