//! Good answers: a JSON body, and the generation that it shows as its entity tag.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A body and the generation of the spec that it shows.
///
/// The tag names the desired state, for `If-Match`. It does not cover counters and health, which
/// change without a change of the spec, so `If-None-Match` is not answered with 304.
#[derive(Debug)]
pub(super) struct Reply<T> {
    pub status: StatusCode,
    pub generation: u64,
    pub body: T,
}

impl<T> Reply<T> {
    /// 200.
    pub fn ok(generation: u64, body: T) -> Self {
        Self { status: StatusCode::OK, generation, body }
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let headers = [(header::ETAG, etag(self.generation))];
        (self.status, headers, Json(self.body)).into_response()
    }
}

/// 204: it is gone, and with it this generation began.
pub(super) fn gone(generation: u64) -> Response {
    (StatusCode::NO_CONTENT, [(header::ETAG, etag(generation))]).into_response()
}

/// The entity tag of a generation: `"12"`.
pub(super) fn etag(generation: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{generation}\"")).expect("quotes and digits are visible ASCII")
}
