//! Whether a request is let in: who asks, and whether his role is enough.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, StatusCode, header};

use super::caller::{Caller, audit};
use super::credentials::Who;
use super::door::Door;
use super::problem::Problem;
use super::role::{Role, needed};
use super::ui;

/// By what a connection came in.
#[derive(Debug, Clone)]
pub(super) enum Entrance {
    /// By the socket, whose file says who may open it, or a loopback port that asks nobody.
    Open,
    /// By a port that wants credentials with each request.
    Guarded {
        /// What they are compared with.
        door: Door,
        /// The names in the client's verified certificate; empty without one.
        certificate: Arc<[String]>,
        /// Whether the names in the header `host` can be trusted, because TLS has verified ours.
        has_tls: bool,
    },
}

/// Lets a request in or says why not. Who was let in is in the request's extensions.
///
/// A request of which nobody noted by what it came in is not let in.
pub(super) fn admit(request: &mut Request) -> Result<(), Problem> {
    let Some(entrance) = request.extensions().get::<Entrance>().cloned() else {
        return Err(no_credentials());
    };
    let Entrance::Guarded { door, certificate, .. } = entrance else { return Ok(()) };
    let Some(credentials) = door.credentials() else { return Ok(()) };
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    if ui::is_file(&path) {
        return Ok(());
    }
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Unknown);
    let (found, otherwise): (Option<Who>, fn() -> Problem) = match token(request.headers()) {
        Shown::Token(token) => (credentials.by_token(token), wrong_token),
        Shown::Otherwise => (None, other_scheme),
        Shown::Nothing if certificate.is_empty() => (None, no_credentials),
        Shown::Nothing => (credentials.by_certificate(&certificate), unknown_certificate),
    };
    let Some(Who { name, role }) = found else {
        let problem = otherwise();
        return Err(failed(&door, caller, problem));
    };
    let (method, least) = (request.method(), needed(request.method(), &path));
    let known = Caller::Known { name, role, address: caller.address() };
    if role < least {
        let what = format!("{method} {}", request.uri().path());
        audit(&known, &what, None, "forbidden");
        return Err(forbidden(role, least));
    }
    request.extensions_mut().insert(known);
    Ok(())
}

/// Refuses a failed attempt, and notes it while there are not too many from there.
fn failed(door: &Door, caller: Caller, problem: Problem) -> Problem {
    if !door.may_fail(caller.address().map(|address| address.ip())) {
        let detail = "too many attempts without good credentials come from your address: wait a \
                      second before the next one";
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", detail);
    }
    if problem.code() != NO_CREDENTIALS {
        audit(&caller, "log in", None, problem.code());
    }
    problem
}

enum Shown<'r> {
    Nothing,
    Token(&'r str),
    Otherwise,
}

/// The token of `authorization: Bearer TOKEN` (RFC 6750, section 2.1).
fn token(headers: &HeaderMap) -> Shown<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Shown::Nothing };
    let text = value.to_str().unwrap_or_default().trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && more.is_none() => {
            Shown::Token(token.trim())
        }
        _ => Shown::Otherwise,
    }
}

const NO_CREDENTIALS: &str = "no_credentials";

fn no_credentials() -> Problem {
    let detail = "this port asks for credentials: send a token with `authorization: Bearer TOKEN` \
                  (`redirector token new` makes one), or show a client certificate";
    Problem::new(StatusCode::UNAUTHORIZED, NO_CREDENTIALS, detail)
}

fn wrong_token() -> Problem {
    let detail = "the token is not known here: it was withdrawn, or is another redirector's";
    Problem::new(StatusCode::UNAUTHORIZED, "wrong_token", detail)
}

fn other_scheme() -> Problem {
    let detail = "the header `authorization` must be one `Bearer TOKEN`";
    Problem::new(StatusCode::UNAUTHORIZED, "unknown_scheme", detail)
}

fn unknown_certificate() -> Problem {
    let detail = "your certificate is good, but none of its names is known here: the file of \
                  credentials needs a line `NAME ROLE cert:COMMON NAME`";
    Problem::new(StatusCode::UNAUTHORIZED, "unknown_certificate", detail)
}

fn forbidden(role: Role, least: Role) -> Problem {
    let detail = format!("your role is {role}, and this needs {least}: ask somebody who has it");
    Problem::new(StatusCode::FORBIDDEN, "role_too_low", detail)
}
