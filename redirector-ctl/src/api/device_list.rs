//! `GET /v1/devices`: page by page by name, or the first ones of another order.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::device_view::View;
use super::devices::Device;
use super::extract::{Params, within};
use super::limits::DEVICES_MAX;
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use crate::core::spec::{self, Name};

/// Devices, of which there may be more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// The devices.
    pub items: Vec<Device>,
    /// How many there are that fit the query, on this page and others.
    #[serde(default)]
    pub total: usize,
    /// Where the next page begins, for `cursor`; null on the last one, and in orders other than
    /// by name, which have one page.
    #[serde(default)]
    pub next: Option<String>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeviceOrder {
    /// By name.
    #[default]
    Name,
    /// Most traffic first.
    Traffic,
    /// Most open flows first.
    Flows,
}

/// Which devices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeviceQuery {
    /// At most so many, 1 to 1000; 1000 when left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// What comes first; the name when left out.
    #[serde(default)]
    #[param(required = false, inline)]
    order: DeviceOrder,
    /// Only those whose name, service address or servers of now and of drains have all of these
    /// words somewhere.
    search: Option<String>,
    /// Only those with flows that drain.
    #[serde(default)]
    #[param(required = false)]
    draining: bool,
}

/// Lists devices. There may be tens of thousands: ask for a page, and for the next one.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", params(DeviceQuery),
    responses((status = 200, body = DeviceList), ReadProblems))]
pub(super) async fn list_devices(
    State(api): State<Api>,
    Params(query): Params<DeviceQuery>,
) -> Result<Reply<DeviceList>, Problem> {
    let limit = within("limit", query.limit, (DEVICES_MAX, DEVICES_MAX))?;
    let snapshot = api.daemon.snapshot().await?;
    let view = View::of(&snapshot);
    let wish = Wish::of(&query);
    let devices = &snapshot.spec.devices;
    let fits = |(name, device): &(&Name, &spec::Device)| wish.fits(name, device);
    let total = if wish.is_any() { devices.len() } else { devices.iter().filter(fits).count() };
    // By name no more are looked at than are shown, and one to know whether there are more.
    let (after, len_max) = match query.order {
        DeviceOrder::Name => (query.cursor.as_ref(), limit + 1),
        DeviceOrder::Traffic | DeviceOrder::Flows => (None, usize::MAX),
    };
    let fitting = devices.after(after).filter(fits).take(len_max);
    let mut fitting: Vec<&Name> = fitting.map(|(name, _)| name).collect();
    match query.order {
        DeviceOrder::Name => {}
        // Devices come by name, and a stable sort keeps that order among equals.
        DeviceOrder::Traffic => fitting.sort_by_cached_key(|name| u64::MAX - view.bytes(name)),
        DeviceOrder::Flows => fitting.sort_by_cached_key(|name| u64::MAX - view.flows_len(name)),
    }
    let has_more = fitting.len() > limit && query.order == DeviceOrder::Name;
    fitting.truncate(limit);
    let next = fitting.last().filter(|_| has_more).map(|name| name.to_string());
    let items = fitting.iter().filter_map(|name| view.device(name)).collect();
    Ok(Reply::ok(snapshot.spec.generation, DeviceList { items, total, next }))
}

/// The query as words to be found.
struct Wish {
    words: Vec<String>,
    draining: bool,
}

impl Wish {
    fn of(query: &DeviceQuery) -> Self {
        let text = query.search.as_deref().unwrap_or_default().to_lowercase();
        let words = text.split_whitespace().map(str::to_owned).collect();
        Self { words, draining: query.draining }
    }

    /// Whether every device fits.
    fn is_any(&self) -> bool {
        self.words.is_empty() && !self.draining
    }

    fn fits(&self, name: &str, device: &spec::Device) -> bool {
        let now = &device.association;
        if self.draining && now.drains.is_empty() {
            return false;
        }
        if self.words.is_empty() {
            return true;
        }
        let mut line = format!("{name} {}:{} {}", device.address, device.port, now.server);
        for drain in &now.drains {
            line.push(' ');
            line.push_str(&drain.server);
        }
        let line = line.to_lowercase();
        self.words.iter().all(|word| line.contains(word))
    }
}
