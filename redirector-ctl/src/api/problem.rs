//! Errors on the wire: RFC 9457 problems that name the field and say what to do.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::reply::etag;
use crate::core::change::{ProblemKind, SpecError, SpecProblem};
use crate::daemon::{ChangeError, ExplainError, PlanError, TablesError, Unavailable};

/// Media type of a problem (RFC 9457, section 3).
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A problem as it is sent (RFC 9457). `detail` says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// The kind of problem: `urn:redirector:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:redirector:problem:unknown_server")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// Stable name of the problem, for programs.
    #[schema(example = "unknown_server")]
    pub code: String,
    /// What is wrong and what to do, for people.
    pub detail: String,
    /// The field of the body that is wrong, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "servers[1]")]
    pub field: Option<String>,
    /// Everything that is wrong, where the body as a whole could be judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FieldProblem>,
    /// Identifies the request in the daemon's log; also in the header `x-request-id`.
    pub request_id: String,
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// Path of the field within the body.
    pub field: String,
    /// Stable name of the problem.
    pub code: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// A problem on its way out; the edge adds the request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    problems: Vec<FieldProblem>,
    /// The present generation, where the caller spoke of another.
    generation: Option<u64>,
}

/// A change that is accepted, but not yet in the packet path or not yet safe on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pending {
    /// Generation that holds the change.
    pub generation: u64,
    /// What is missing; the daemon keeps trying.
    pub detail: String,
    /// Where to wait for it; also in the header `location`.
    #[schema(example = "/v1/status?wait_generation=12")]
    pub wait: String,
}

impl Pending {
    fn of(generation: u64, detail: String) -> Self {
        Self { generation, detail, wait: format!("/v1/status?wait_generation={generation}") }
    }
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, code, detail, field: None, problems: Vec::new(), generation: None }
    }

    /// A request that makes no sense (400).
    pub fn malformed(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// A device or server that does not exist (404).
    pub fn unknown(kind: &'static str, name: &str) -> Self {
        let code = if kind == "device" { "unknown_device" } else { "unknown_server" };
        let detail = format!("there is no {kind} {name}: see /v1/{kind}s for those that there are");
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// Its stable name.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The same problem, in a field of the body.
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same problem of a change whose fields the body of this request names otherwise.
    pub fn with_fields(mut self, rename: impl Fn(&str) -> String) -> Self {
        self.field = self.field.map(|field| rename(&field));
        for problem in &mut self.problems {
            problem.field = rename(&problem.field);
        }
        self
    }

    /// What is sent.
    pub fn into_body(self, request_id: &str) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:redirector:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail,
            field: self.field,
            problems: self.problems,
            request_id: request_id.to_owned(),
        }
    }
}

/// Leaves the problem in the response's extensions, where the edge finds it and writes the body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if self.status == StatusCode::ACCEPTED {
            return accepted(self);
        }
        if let Some(generation) = self.generation {
            response.headers_mut().insert(header::ETAG, etag(generation));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3: whoever showed nothing is told no error.
            let challenge = match self.code {
                "no_credentials" => "Bearer realm=\"redirector\"",
                _ => "Bearer realm=\"redirector\", error=\"invalid_token\"",
            };
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        let later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        if later.contains(&self.status) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Not a problem after all, only not complete.
fn accepted(problem: Problem) -> Response {
    let pending = Pending::of(problem.generation.unwrap_or_default(), problem.detail);
    let mut response = (StatusCode::ACCEPTED, Json(&pending)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(pending.generation));
    if let Ok(wait) = HeaderValue::try_from(&pending.wait) {
        headers.insert(header::LOCATION, wait);
    }
    response
}

impl From<SpecError> for Problem {
    /// The gravest kind gives the status: what is malformed, before what is unknown, before what
    /// collides, before what cannot be done.
    fn from(refusal: SpecError) -> Self {
        let Some(first) = refusal.problems.iter().min_by_key(|problem| problem.kind) else {
            return Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", "the change is refused");
        };
        let status = match first.kind {
            ProblemKind::Malformed => StatusCode::BAD_REQUEST,
            ProblemKind::NotFound => StatusCode::NOT_FOUND,
            ProblemKind::Conflict => StatusCode::CONFLICT,
            ProblemKind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let problem = Self::new(status, first.code, &first.detail).in_field(&first.field);
        let problems = refusal.problems.into_iter().map(FieldProblem::from).collect();
        Self { problems, ..problem }
    }
}

impl From<SpecProblem> for FieldProblem {
    fn from(problem: SpecProblem) -> Self {
        Self { field: problem.field, code: problem.code.to_owned(), detail: problem.detail }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Refused(refusal) => refusal.into(),
            ChangeError::Stale { current } => Self {
                generation: Some(current),
                ..Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
            },
            ChangeError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
            ChangeError::NotApplied { generation, .. } => Self {
                generation: Some(generation),
                ..Self::new(StatusCode::ACCEPTED, "not_applied", detail)
            },
        }
    }
}

impl From<TablesError> for Problem {
    fn from(error: TablesError) -> Self {
        tracing::error!(error = in_full(&error), "the tables");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "tables", in_full(&error))
    }
}

impl From<ExplainError> for Problem {
    fn from(error: ExplainError) -> Self {
        let detail = in_full(&error);
        let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
        match error {
            ExplainError::NotAttached(_) => {
                Self::new(unprocessable, "not_attached", detail).in_field("interface")
            }
            ExplainError::Families => {
                Self::new(unprocessable, "family_mismatch", detail).in_field("client")
            }
            ExplainError::Load(_)
            | ExplainError::NotLoaded
            | ExplainError::Map { .. }
            | ExplainError::Run(_)
            | ExplainError::Unclear(_) => {
                tracing::error!(error = detail, "no explanation");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_explanation", detail)
            }
        }
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let detail = error.to_string();
        match error {
            PlanError::Nothing => Self::new(StatusCode::CONFLICT, "no_plan", detail),
            PlanError::Stale { current, .. } => Self {
                generation: Some(current),
                ..Self::new(StatusCode::CONFLICT, "plan_stale", detail)
            },
            PlanError::Change(error) => error.into(),
        }
    }
}

/// An error with its causes in one line.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        let code = match error {
            Unavailable::Stopping => "unavailable",
            Unavailable::Busy => "busy",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string())
    }
}
