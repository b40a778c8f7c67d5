//! HTTP to the daemon, over its unix socket or a port.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{StatusCode, Url, header};

use super::args::Address;
use super::request::Request;
use crate::api::problem::ProblemBody;

/// Longest wait for an answer; the daemon itself gives up earlier and says so.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait until somebody takes the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Sends a request; the body of a good answer.
pub(super) async fn send(address: &Address, request: &Request) -> Result<Vec<u8>, AskError> {
    let failed = |error: reqwest::Error| AskError::Unreachable {
        address: address.to_string(),
        reason: innermost(&error),
    };
    let client = client(address).map_err(failed)?;
    let mut call = client.request(request.method.clone(), url(address, request));
    if let Some(body) = &request.body {
        call = call.json(body);
    }
    if request.only_new {
        call = call.header(header::IF_NONE_MATCH, "*");
    }
    if let Some(generation) = request.if_match {
        call = call.header(header::IF_MATCH, format!("\"{generation}\""));
    }
    let answer = call.send().await.map_err(failed)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(failed)?.to_vec();
    if status.is_success() {
        return Ok(body);
    }
    match serde_json::from_slice(&body) {
        Ok(problem) => Err(AskError::Refused { problem: Box::new(problem), body }),
        Err(_) => Err(AskError::Strange { address: address.to_string(), status }),
    }
}

/// The daemon is on this machine: no proxy of the environment is asked, no redirect followed.
fn client(address: &Address) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT);
    match address {
        Address::Unix(path) => builder.unix_socket(path.as_path()).build(),
        Address::Http(_) => builder.build(),
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
