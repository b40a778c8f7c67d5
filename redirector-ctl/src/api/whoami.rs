//! `/v1/caller`: for whom the daemon takes the caller, so that a page shows what he may do.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::Caller;
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use super::role::Role;

/// For whom the daemon takes the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoever {
    /// His name in the file of credentials; null where nobody is asked who he is.
    #[schema(example = "anna")]
    pub name: Option<String>,
    /// What he may do; `admin` where nobody is asked.
    pub role: Role,
}

/// Shows for whom the daemon takes you, and what you may do.
#[utoipa::path(get, path = "/v1/caller", tag = "status",
    responses((status = 200, body = Whoever), ReadProblems))]
pub(super) async fn get_caller(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Reply<Whoever>, Problem> {
    let whoever = match caller {
        Caller::Known { name, role, .. } => Whoever { name: Some(name.to_string()), role },
        Caller::Process { .. } | Caller::Address(_) | Caller::Unknown => {
            Whoever { name: None, role: Role::Admin }
        }
    };
    Ok(Reply::ok(api.daemon.snapshot().await?.spec.generation, whoever))
}
