//! `/v1/recorder`: the flight recorder and its dumps.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::caller::{Caller, audit};
use super::extract::{Params, PathName, address};
use super::openapi::ReadProblems;
use super::problem::{Problem, ProblemBody};
use crate::daemon::{DumpFile, DumpWish, RecorderError, RecorderState};

/// Media type of a dump; pcapng has none of its own with IANA, and this is the usual one.
const PCAPNG: &str = "application/x-pcapng";

/// What the flight recorder does and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recorder {
    /// Whether it records.
    pub on: bool,
    /// Packets that each CPU keeps of each of three classes: trouble, turns of flows, samples.
    pub packets_max: u32,
    /// One of so many packets of open flows is a sample; 0 for none.
    pub sample_one_in: u32,
    /// Most bytes of a packet's headers that are kept; its payload never is.
    pub snap_len: u32,
    /// Memory of its rings, in bytes.
    pub memory_bytes: u64,
    /// Packets recorded since the program was loaded.
    pub recorded: u64,
    /// Those of them that newer ones have taken the place of.
    pub overwritten: u64,
    /// Packets left out because too many came at a time.
    pub left_out: u64,
    /// Dumps on disk.
    pub dumps: u64,
    /// Most dumps on disk; the oldest goes.
    pub dumps_max: u32,
    /// Bytes of all dumps.
    pub dump_bytes: u64,
    /// Most bytes of all dumps; the oldest goes.
    pub dump_bytes_max: u64,
}

/// A dump on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dump {
    /// Its name: when and why it was made.
    #[schema(example = "2026-11-27T03-12-07.123Z-failover.pcapng")]
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// The dumps on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DumpList {
    /// The dumps, oldest first.
    pub items: Vec<Dump>,
}

/// What a dump is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DumpQuery {
    /// Only packets of this device.
    device: Option<String>,
    /// Only packets from or to the client with this address.
    client: Option<String>,
}

/// Shows what the flight recorder keeps, what it costs, and how many dumps there are.
#[utoipa::path(get, path = "/v1/recorder", tag = "recorder",
    responses((status = 200, body = Recorder), ReadProblems))]
pub(super) async fn get_recorder(State(api): State<Api>) -> Result<Json<Recorder>, Problem> {
    Ok(Json(Recorder::of(&api.daemon.recorder().await??)))
}

/// Lists the dumps on disk, oldest first. One is made after each failover, and by request.
#[utoipa::path(get, path = "/v1/recorder/dumps", tag = "recorder",
    responses((status = 200, body = DumpList), ReadProblems))]
pub(super) async fn list_dumps(State(api): State<Api>) -> Result<Json<DumpList>, Problem> {
    let items = api.daemon.dumps().await??.into_iter().map(Dump::from).collect();
    Ok(Json(DumpList { items }))
}

/// Makes a dump of what the recorder has now: the headers of packets, each with the reason of its
/// verdict as comment, and the events between them.
#[utoipa::path(post, path = "/v1/recorder/dumps", tag = "recorder", params(DumpQuery),
    responses(
        (status = 201, description = "It is on disk", body = Dump),
        (status = 409, description = "The recorder is off", body = ProblemBody,
            content_type = "application/problem+json"),
        ReadProblems
    ))]
pub(super) async fn make_dump(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<DumpQuery>,
) -> Result<Response, Problem> {
    let device = match &query.device {
        None => None,
        Some(name) => {
            let snapshot = api.daemon.snapshot().await?;
            let known = snapshot.spec.devices.get(name).map(|device| device.id);
            Some(known.ok_or_else(|| Problem::unknown("device", name))?)
        }
    };
    let client = query.client.as_deref().map(|text| address("client", text)).transpose()?;
    let made = api.daemon.dump(DumpWish { device, client }).await?;
    let outcome = if made.is_ok() { "done" } else { "refused" };
    audit(&caller, "dump the flight recorder", None, outcome);
    Ok((StatusCode::CREATED, Json(Dump::from(made?))).into_response())
}

/// Gives a dump, a file that Wireshark opens. It holds addresses and headers of clients' packets,
/// so that a viewer may not read it.
#[utoipa::path(get, path = "/v1/recorder/dumps/{name}", tag = "recorder",
    params(("name" = String, Path, description = "`name` of the dump")),
    responses(
        (status = 200, description = "The dump", content_type = "application/x-pcapng",
            body = Vec<u8>),
        ReadProblems
    ))]
pub(super) async fn get_dump(
    State(api): State<Api>,
    caller: Caller,
    PathName(name): PathName,
) -> Result<Response, Problem> {
    let content = api.daemon.read_dump(name.clone()).await??.ok_or_else(|| {
        let detail = format!("there is no dump {name}: see /v1/recorder/dumps; old ones go");
        Problem::new(StatusCode::NOT_FOUND, "unknown_dump", detail)
    })?;
    audit(&caller, &format!("read dump {name}"), None, "done");
    Ok(([(header::CONTENT_TYPE, PCAPNG)], content).into_response())
}

impl Recorder {
    fn of(state: &RecorderState) -> Self {
        let (config, counts) = (&state.config, &state.counts);
        Self {
            on: config.packets_max != 0,
            packets_max: config.packets_max,
            sample_one_in: config.sample_one_in,
            snap_len: config.snap_len,
            memory_bytes: state.memory_bytes,
            recorded: counts.recorded,
            overwritten: counts.overwritten,
            left_out: counts.left_out,
            dumps: state.dumps,
            dumps_max: config.dumps_max,
            dump_bytes: state.dump_bytes,
            dump_bytes_max: config.dump_bytes_max,
        }
    }
}

impl From<DumpFile> for Dump {
    fn from(DumpFile { name, bytes }: DumpFile) -> Self {
        Self { name, bytes }
    }
}

impl From<RecorderError> for Problem {
    fn from(error: RecorderError) -> Self {
        let detail = error.to_string();
        match error {
            RecorderError::Off => Self::new(StatusCode::CONFLICT, "recorder_off", detail),
            RecorderError::Kernel(error) => error.into(),
            RecorderError::Disk(_) | RecorderError::Format(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_dump", detail)
            }
        }
    }
}
