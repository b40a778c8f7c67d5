//! Three roles, and which of them each operation asks for.

use std::fmt;
use std::str::FromStr;

use axum::http::Method;
use serde::{Deserialize, Serialize};

/// What somebody may do. Each may do what the one before may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Viewer,
    /// Move what there is: moves, drains, plans, closing of flows.
    Operator,
    /// Everything, also what there is: servers and devices.
    Admin,
}

/// Operations that change nothing although their method could.
const VIEWER: [(Method, &str); 1] = [(Method::POST, "/v1/explain")];

/// Operations that move what there is.
const OPERATOR: [(Method, &str); 8] = [
    (Method::PATCH, "/v1/servers/{name}"),
    (Method::PATCH, "/v1/associations"),
    (Method::PUT, "/v1/associations/{device}"),
    (Method::PUT, "/v1/devices/{name}/clients/{address}"),
    (Method::POST, "/v1/plan/apply"),
    (Method::POST, "/v1/plan/discard"),
    (Method::DELETE, "/v1/flows/{id}"),
    (Method::POST, "/v1/recorder/dumps"),
];

/// What is only read, but is for operators: it tells with whom clients talk, and when. Whoever
/// mends an outage needs it, also where nobody is there who may change what there is.
const SENSITIVE: [&str; 1] = ["/v1/recorder/dumps/{name}"];

/// The least role for an operation; `path` as the routes have it. Whatever changes something and
/// is in no list is for admins, so that a new operation that nobody thought of is not open.
pub(super) fn needed(method: &Method, path: &str) -> Role {
    let is_in = |list: &[(Method, &str)]| list.iter().any(|(of, at)| of == method && *at == path);
    if method.is_safe() && SENSITIVE.contains(&path) {
        Role::Operator
    } else if method.is_safe() || is_in(&VIEWER) {
        Role::Viewer
    } else if is_in(&OPERATOR) {
        Role::Operator
    } else {
        Role::Admin
    }
}

impl Role {
    /// All, from the least one.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == word);
        found.ok_or_else(|| format!("`{word}` is no role: write viewer, operator or admin"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi;

    #[test]
    fn every_operation_of_the_lists_exists() {
        let document: serde_json::Value =
            serde_json::from_str(&openapi::document()).expect("it is JSON");
        for (method, path) in VIEWER.iter().chain(&OPERATOR) {
            let method = method.as_str().to_lowercase();
            assert!(document["paths"][path][&method].is_object(), "{method} {path}");
        }
        for path in SENSITIVE {
            assert!(document["paths"][path]["get"].is_object(), "{path}");
        }
    }

    #[test]
    fn what_nobody_thought_of_is_for_admins() {
        assert_eq!(needed(&Method::POST, "/v1/news"), Role::Admin);
        assert_eq!(needed(&Method::DELETE, "/v1/plan/apply"), Role::Admin);
        assert_eq!(needed(&Method::HEAD, "/v1/news"), Role::Viewer);
        assert_eq!(needed(&Method::HEAD, SENSITIVE[0]), Role::Operator);
    }
}
