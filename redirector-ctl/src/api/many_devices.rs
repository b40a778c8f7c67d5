//! `PATCH /v1/devices`: many devices in one step.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::Asked;
use super::devices::PutDevice;
use super::extract::Body;
use super::openapi::ChangeProblems;
use super::problem::Problem;
use super::reply::Reply;
use crate::core::change::Change;
use crate::daemon::Applied;

/// Devices that go, and devices to create or replace: all or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchDevices {
    /// Names of devices to remove, before the others are put.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Name -> device to create or replace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub put: BTreeMap<String, PutDevice>,
}

/// What a change of many devices led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Patched {
    /// Generation that holds the change; unchanged when there was nothing to do.
    pub generation: u64,
    /// Events that tell of it; see `/v1/events`.
    pub events: Vec<u64>,
}

/// Removes and puts devices, all or none. Each is what `PUT /v1/devices/{name}` takes. A body has
/// room for some thousands; more go in several steps, each on top of the one before (`if-match`).
#[utoipa::path(patch, path = "/v1/devices", tag = "devices", request_body = PatchDevices,
    params(("if-match" = Option<String>, Header, description = "The generation you have seen")),
    responses((status = 200, body = Patched), ChangeProblems))]
pub(super) async fn patch_devices(
    State(api): State<Api>,
    asked: Asked,
    Body(body): Body<PatchDevices>,
) -> Result<Reply<Patched>, Problem> {
    let put = body.put.into_iter().map(|(name, device)| (name, device.into())).collect();
    let change = Change::PatchDevices { remove: body.remove, put };
    let Applied { generation, events } = api.change(asked, change).await?;
    Ok(Reply::ok(generation, Patched { generation, events }))
}
