//! `/v1/associations`: through which server each device is reached, one at a time or many at once.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::caller::Asked;
use super::extract::{Body, Params, PathName, within};
use super::flows::Flows;
use super::limits::DEVICES_MAX;
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::Problem;
use super::reply::Reply;
use super::wire::{self, Policy, PolicyBody};
use crate::core::change::{Change, Move};
use crate::core::drained::DrainedBytes;
use crate::core::spec::{Cause, Device};
use crate::daemon::{Applied, Snapshot};

/// Through which server a device is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Association {
    /// Server that gets new flows.
    #[schema(example = "s1")]
    pub server: String,
    /// Server that takes over by itself if `server` dies.
    pub backup: Option<String>,
    /// Version of this association.
    pub epoch: u16,
    /// Why it last changed.
    pub cause: Cause,
    /// When it last changed; RFC 3339.
    #[schema(format = DateTime)]
    pub changed_at: String,
    /// Earlier associations whose flows may still be open, oldest first.
    pub drains: Vec<Drain>,
}

/// An earlier association whose flows may still be open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drain {
    /// Server the flows are on.
    pub server: String,
    /// Epoch the flows carry.
    pub epoch: u16,
    /// When what is still open is reset; RFC 3339. Null: never.
    #[schema(format = DateTime)]
    pub deadline_at: Option<String>,
    /// Open flows of this association.
    pub flows_len: u64,
    /// Clients that these flows are of; 0 until the flows have been counted.
    #[serde(default)]
    pub clients_len: u64,
    /// What they have carried at most; null in the first moment, and for a device that was never
    /// met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

/// A bound of what flows that drain have carried, both directions together, whole frames. Bytes are
/// counted by device and by server, not by flow: it is what the device has carried since the drain
/// began, or what its server has, whichever is less. So nothing passes any more where it stands
/// still; and it is exact where the device has no other flows, or the server no other device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Carried {
    /// At most so many bytes.
    pub bytes_max: u64,
    /// Since when; RFC 3339. That is when the drain began, less than `stats_interval_ms` earlier or
    /// later; or when the daemon started.
    #[schema(format = DateTime)]
    pub since: String,
}

impl From<DrainedBytes> for Carried {
    fn from(of: DrainedBytes) -> Self {
        Self { bytes_max: of.bytes_max, since: wire::time(of.since_ms) }
    }
}

/// A device and its association.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceAssociation {
    /// The device.
    #[schema(example = "disk-a")]
    pub device: String,
    /// Its association.
    #[serde(flatten)]
    pub association: Association,
}

/// Associations, by device, of which there may be more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssociationList {
    /// The associations.
    pub items: Vec<DeviceAssociation>,
    /// How many there are, on this page and others.
    #[serde(default)]
    pub total: usize,
    /// Where the next page begins, for `cursor`; null on the last one.
    #[serde(default)]
    pub next: Option<String>,
}

/// Which associations.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AssociationQuery {
    /// At most so many, 1 to 1000; 1000 when left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// A new server for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAssociation {
    /// The server that is to get its new flows; one of the device's servers.
    #[schema(example = "s2")]
    pub server: String,
    /// What happens to its open flows; the device's own policy when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PolicyBody>)]
    pub policy: Option<Policy>,
}

/// New servers for several devices: all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchAssociations {
    /// What goes where; each device once.
    #[schema(min_items = 1)]
    pub associations: Vec<MoveRequest>,
}

/// One device of a bulk change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// The device.
    #[schema(example = "disk-a")]
    pub device: String,
    /// The server that is to get its new flows; one of the device's servers.
    #[schema(example = "s2")]
    pub server: String,
    /// What happens to its open flows; the device's own policy when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PolicyBody>)]
    pub policy: Option<Policy>,
}

/// What a change of associations led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moved {
    /// Generation that holds the change; unchanged when there was nothing to do.
    pub generation: u64,
    /// Events that tell of it; see `/v1/events`.
    pub events: Vec<u64>,
    /// The devices that were named, as they are now.
    pub associations: Vec<DeviceAssociation>,
}

impl Association {
    /// The association of a device.
    pub(super) fn of(device: &Device, flows: &Flows) -> Self {
        let drains = device.association.drains.iter().map(|drain| Drain {
            server: drain.server.clone(),
            epoch: drain.epoch,
            deadline_at: drain.deadline_at_ms.map(wire::time),
            flows_len: flows.of_epoch(device.id, drain.epoch),
            clients_len: flows.clients_of_epoch(device.id, drain.epoch),
            carried: flows.drained(device.id, drain.epoch).map(Carried::from),
        });
        Self {
            server: device.association.server.clone(),
            backup: device.association.backup.clone(),
            epoch: device.association.epoch,
            cause: device.association.cause,
            changed_at: wire::time(device.association.changed_at_ms),
            drains: drains.collect(),
        }
    }
}

/// Lists associations by device: ask for a page, and for the next one.
#[utoipa::path(get, path = "/v1/associations", tag = "associations", params(AssociationQuery),
    responses((status = 200, body = AssociationList), ReadProblems))]
pub(super) async fn list_associations(
    State(api): State<Api>,
    Params(query): Params<AssociationQuery>,
) -> Result<Reply<AssociationList>, Problem> {
    let limit = within("limit", query.limit, (DEVICES_MAX, DEVICES_MAX))?;
    let snapshot = api.daemon.snapshot().await?;
    let devices = &snapshot.spec.devices;
    let mut rest = devices.after(query.cursor.as_ref()).map(|(name, _)| name);
    let page: Vec<&String> = rest.by_ref().take(limit).collect();
    let next = page.last().filter(|_| rest.next().is_some()).map(|name| (*name).clone());
    let items = shown(&snapshot, page);
    let list = AssociationList { items, total: devices.len(), next };
    Ok(Reply::ok(snapshot.spec.generation, list))
}

/// Shows the association of one device.
#[utoipa::path(get, path = "/v1/associations/{device}", tag = "associations",
    params(("device" = String, Path, description = "Name of the device")),
    responses((status = 200, body = DeviceAssociation), ReadProblems))]
pub(super) async fn get_association(
    State(api): State<Api>,
    PathName(device): PathName,
) -> Result<Reply<DeviceAssociation>, Problem> {
    let snapshot = api.daemon.snapshot().await?;
    let item = shown(&snapshot, [&device]).pop();
    let item = item.ok_or_else(|| Problem::unknown("device", &device))?;
    Ok(Reply::ok(snapshot.spec.generation, item))
}

/// Moves one device. Its new flows go to the new server from then on.
#[utoipa::path(put, path = "/v1/associations/{device}", tag = "associations",
    request_body = PutAssociation,
    params(
        ("device" = String, Path, description = "Name of the device"),
        ("if-match" = Option<String>, Header, description = "The generation you have seen"),
    ),
    responses((status = 200, body = Moved), ChangeProblems))]
pub(super) async fn put_association(
    State(api): State<Api>,
    PathName(device): PathName,
    asked: Asked,
    Body(body): Body<PutAssociation>,
) -> Result<Reply<Moved>, Problem> {
    let moves =
        vec![Move { device, server: body.server, policy: body.policy.map(|policy| policy.0) }];
    let own_field = |field: &str| field.strip_prefix("moves[0].").unwrap_or(field).to_owned();
    associate(&api, asked, moves).await.map_err(|problem| problem.with_fields(own_field))
}

/// Moves several devices in one step: every packet sees all of it or nothing.
#[utoipa::path(patch, path = "/v1/associations", tag = "associations",
    request_body = PatchAssociations,
    params(("if-match" = Option<String>, Header, description = "The generation you have seen")),
    responses((status = 200, body = Moved), ChangeProblems))]
pub(super) async fn patch_associations(
    State(api): State<Api>,
    asked: Asked,
    Body(body): Body<PatchAssociations>,
) -> Result<Reply<Moved>, Problem> {
    let moves = body.associations.into_iter().map(Move::from).collect();
    let own_field = |field: &str| match field.strip_prefix("moves") {
        Some(rest) => format!("associations{rest}"),
        None => field.to_owned(),
    };
    associate(&api, asked, moves).await.map_err(|problem| problem.with_fields(own_field))
}

impl From<MoveRequest> for Move {
    fn from(body: MoveRequest) -> Self {
        Self {
            device: body.device,
            server: body.server,
            policy: body.policy.map(|policy| policy.0),
        }
    }
}

async fn associate(api: &Api, asked: Asked, moves: Vec<Move>) -> Result<Reply<Moved>, Problem> {
    let devices: Vec<String> = moves.iter().map(|wish| wish.device.clone()).collect();
    let change = Change::Associate { moves, cause: Cause::Planned };
    let Applied { generation, events } = api.change(asked, change).await?;
    let snapshot = api.daemon.snapshot().await?;
    let associations = shown(&snapshot, &devices);
    let moved = Moved { generation, events, associations };
    Ok(Reply::ok(snapshot.spec.generation, moved))
}

/// The associations of those of `devices` that exist.
fn shown<'n>(
    snapshot: &Snapshot,
    devices: impl IntoIterator<Item = &'n String>,
) -> Vec<DeviceAssociation> {
    let flows = Flows::of(snapshot);
    let known = devices.into_iter().filter_map(|name| {
        let device = snapshot.spec.devices.get(name)?;
        let association = Association::of(device, &flows);
        Some(DeviceAssociation { device: name.clone(), association })
    });
    known.collect()
}
