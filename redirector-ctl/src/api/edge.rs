//! The edge of the API: request ids, the time limit, and problems for every error that leaves.

use std::any::Any;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::limits::{REQUEST_ID_LEN_MAX, REQUEST_TIMEOUT, REQUESTS_PER_SECOND_MAX};
use super::login::{self, Entrance};
use super::problem::{CONTENT_TYPE, Problem};
use super::usage::Usage;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Requests since the daemon started, for ids that occur once in its log.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Surrounds every request: names it, limits its time, and writes the body of every problem.
pub(super) async fn guard(
    State(usage): State<Usage>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = if !is_meant_for_us(&request) {
        not_local().into_response()
    } else if let Err(refusal) = login::admit(&mut request) {
        // Before the rate that all share: whoever is not let in takes nothing of it.
        refusal.into_response()
    } else if !usage.may_ask(is_by_socket(&request)) {
        too_many().into_response()
    } else {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
        answer.unwrap_or_else(|_| too_slow().into_response())
    };
    usage.answered(response.status());
    log(&id, &method, &path, response.status());
    with_id(written(response, &id), &id)
}

fn is_by_socket(request: &Request) -> bool {
    matches!(request.extensions().get::<Caller>(), Some(Caller::Process { .. }))
}

/// Answers requests for paths that do not exist.
pub(super) async fn no_such_resource(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}: /openapi.json lists what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "unknown_resource", detail)
}

/// Answers methods that a resource does not have; the framework adds the header `allow`.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} has no {method}: the header `allow` lists what it has", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", detail)
}

/// Answers where a handler panicked, which is a mistake of ours.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    tracing::error!(panic = text, "a request handler panicked; please report this");
    let detail = "the daemon made a mistake; its log has more under this request id";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

/// Reads are for debugging only; changes and failures are worth a line each.
fn log(id: &HeaderValue, method: &Method, path: &str, status: StatusCode) {
    let (request_id, status_code) = (id.to_str().unwrap_or_default(), status.as_u16());
    if status.is_server_error() {
        tracing::error!(request_id, %method, path, status = status_code, "request failed");
    } else if method.is_safe() {
        tracing::debug!(request_id, %method, path, status = status_code, "request");
    } else {
        tracing::info!(request_id, %method, path, status = status_code, "request");
    }
}

fn too_slow() -> Problem {
    let detail = format!(
        "the daemon did not answer within {} s: the change may still happen, so read the state \
         before you repeat it",
        REQUEST_TIMEOUT.as_secs()
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail)
}

fn too_many() -> Problem {
    let detail = format!(
        "more than {REQUESTS_PER_SECOND_MAX} requests a second: ask less often, for lists instead \
         of single things, or follow /v1/events"
    );
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
}

/// A page in a browser could reach the loopback port through a name of its own that resolves to
/// 127.0.0.1 (DNS rebinding); such a request carries that name.
fn not_local() -> Problem {
    let detail = "the header `host` names another host: use localhost or a loopback address";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "host_not_local", detail)
}

/// Whether the request names a host that is us. Over TLS the certificate has said who we are.
fn is_meant_for_us(request: &Request) -> bool {
    let has_tls =
        matches!(request.extensions().get(), Some(Entrance::Guarded { has_tls: true, .. }));
    has_tls || is_local(request.headers())
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return host.is_empty();
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The id that the client gave, if it is short and plain, otherwise one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:".contains(byte);
    let given = headers.get(REQUEST_ID).filter(|id| {
        (1..=REQUEST_ID_LEN_MAX).contains(&id.len()) && id.as_bytes().iter().all(plain)
    });
    given.cloned().unwrap_or_else(|| {
        HeaderValue::from(REQUESTS.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    })
}

/// The response with the body of its problem. An error of the framework that brought no problem of
/// its own becomes a plain one, so that no error leaves in another form.
fn written(mut response: Response, id: &HeaderValue) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = response.extensions_mut().remove::<Problem>();
    let problem = problem.unwrap_or_else(|| {
        Problem::new(status, "http", "the request could not be taken; see the status")
    });
    let body = Json(problem.into_body(id.to_str().unwrap_or_default()));
    let mut headers = std::mem::take(response.headers_mut());
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    (status, headers, body).into_response()
}

/// The response with its id. What it tells is for whoever has asked, and for no cache.
fn with_id(mut response: Response, id: &HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
