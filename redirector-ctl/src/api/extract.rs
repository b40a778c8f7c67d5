//! What handlers take of a request. Whatever does not fit is a problem, never a bare status.

use std::fmt::Display;
use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::decode;
use super::limits::{BODY_LEN_MAX, BODY_TIMEOUT};
use super::problem::Problem;

/// The body, as JSON.
#[derive(Debug)]
pub(super) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "the body must be JSON: send it with `content-type: application/json`";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "not_json", detail));
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| slow_body())?;
        let bytes = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("the body is longer than {BODY_LEN_MAX} bytes: send less");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
            }
            _ => Problem::malformed("broken_body", "the body ended early: send it again"),
        })?;
        decode::json(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn slow_body() -> Problem {
    let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail)
}

/// The name in the path.
#[derive(Debug)]
pub(super) struct PathName(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let bad = |_| Problem::malformed("bad_path", "the name in the path is not UTF-8");
        path.map(|Path(name)| Self(name)).map_err(bad)
    }
}

/// Two names in the path.
#[derive(Debug)]
pub(super) struct PathNames(pub (String, String));

impl<S: Send + Sync> FromRequestParts<S> for PathNames {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let bad = |_| Problem::malformed("bad_path", "a name in the path is not UTF-8");
        path.map(|Path(names)| Self(names)).map_err(bad)
    }
}

/// The query.
#[derive(Debug)]
pub(super) struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let bad = |rejection: axum::extract::rejection::QueryRejection| {
            Problem::malformed("bad_query", rejection.body_text())
        };
        query.map(|Query(params)| Self(params)).map_err(bad)
    }
}

/// Whether the caller wants to create only (`If-None-Match: *`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnlyNew(pub bool);

impl<S: Send + Sync> FromRequestParts<S> for OnlyNew {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match parts.headers.get(header::IF_NONE_MATCH) {
            None => Ok(Self(false)),
            Some(value) if value == "*" => Ok(Self(true)),
            Some(_) => Err(Problem::malformed(
                "bad_if_none_match",
                "with a change if-none-match can only be *: create, but do not replace",
            )),
        }
    }
}

impl OnlyNew {
    /// Refuses to replace what is known, if the caller wants that.
    pub fn check(self, kind: &'static str, name: &str, is_known: bool) -> Result<(), Problem> {
        if !self.0 || !is_known {
            return Ok(());
        }
        let detail = format!("the {kind} {name} exists already: nothing was replaced");
        Err(Problem::new(StatusCode::PRECONDITION_FAILED, "exists", detail))
    }
}

/// The generation that the caller has seen (`If-Match`); None for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IfMatch(pub Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        let (first, more) = (values.next(), values.next());
        let Some(value) = first else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" && more.is_none() {
            return Ok(Self(None));
        }
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let plain = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match plain.and_then(|digits| digits.parse().ok()) {
            Some(generation) if more.is_none() => Ok(Self(Some(generation))),
            _ => Err(Problem::malformed(
                "bad_if_match",
                "if-match must be one tag as in the header `etag` of an answer, such as \"12\"",
            )),
        }
    }
}

/// An address of the query.
pub(super) fn address(field: &'static str, text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| no_address("bad_query", text).in_field(field))
}

/// The problem of a text that should be an address.
pub(super) fn no_address(code: &'static str, text: &str) -> Problem {
    Problem::malformed(code, format!("`{text}` is not an address; write one such as 10.0.1.11"))
}

/// A number of the query, from 1 to `max`, or `default` where it is left out.
pub(super) fn within<T: Copy + PartialOrd + Display + From<u8>>(
    field: &'static str,
    asked: Option<T>,
    (default, max): (T, T),
) -> Result<T, Problem> {
    let number = asked.unwrap_or(default);
    if (T::from(1)..=max).contains(&number) {
        return Ok(number);
    }
    let detail = format!("{field} {number}: write 1 to {max}");
    Err(Problem::malformed("bad_query", detail).in_field(field))
}
