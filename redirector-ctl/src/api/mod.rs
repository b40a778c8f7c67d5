//! The REST API: HTTP outside, the daemon's handle inside.
//!
//! One file per resource; each has its wire types, which are apart from the types of `core`, and
//! its handlers, which turn a body into a [`Change`](crate::core::change::Change) and a snapshot
//! into a body. Every error, also one of the framework, leaves as an RFC 9457 problem. Nothing here
//! decides what may be changed, and nothing here touches a table.

mod accept;
pub mod associations;
mod caller;
pub mod clients;
mod credentials;
mod decode;
pub mod desired;
pub mod device_list;
mod device_view;
pub mod devices;
mod door;
mod edge;
pub mod events;
pub mod explain;
mod extract;
mod failures;
mod flows;
pub mod health;
pub mod history;
mod limits;
mod listen;
pub mod load;
mod login;
pub mod many_devices;
mod metrics;
mod names;
pub mod open_flows;
mod openapi;
pub mod plan;
pub mod problem;
pub mod recorder;
mod reply;
pub mod responses;
mod role;
pub mod servers;
pub mod status;
pub mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod ui;
mod usage;
pub mod whatif;
pub mod whoami;
pub mod wire;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;

use crate::daemon::DaemonHandle;

pub use credentials::NewToken;
pub use listen::{ApiError, Listeners, bind, check_access};
pub use openapi::document as openapi_document;
pub use role::Role;

/// What every handler may use.
#[derive(Debug, Clone)]
struct Api {
    daemon: DaemonHandle,
    usage: usage::Usage,
    metrics_devices_max: usize,
}

impl Api {
    fn new(daemon: DaemonHandle, metrics_devices_max: usize) -> Self {
        Self { daemon, usage: usage::Usage::default(), metrics_devices_max }
    }
}

/// Answers on `listeners` until `stop` resolves; then answers what is under way, for a few seconds
/// at most. With more than `metrics_devices_max` devices `/metrics` has none one by one.
pub fn serve(
    daemon: DaemonHandle,
    metrics_devices_max: usize,
    listeners: Listeners,
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    accept::serve(router(Api::new(daemon, metrics_devices_max)), listeners, stop)
}

/// All routes, with what guards them.
fn router(api: Api) -> Router {
    let (router, document) = openapi::routes().split_for_parts();
    let text: Arc<str> = openapi::to_json(&openapi::guarded(document)).into();
    let usage = api.usage.clone();
    ui::routes(router)
        .route("/openapi.json", get(async move || openapi::answer(&text)))
        .fallback(edge::no_such_resource)
        .method_not_allowed_fallback(edge::no_such_method)
        .with_state(api)
        .layer(DefaultBodyLimit::max(limits::BODY_LEN_MAX))
        .layer(CatchPanicLayer::custom(edge::panicked))
        .layer(axum::middleware::from_fn_with_state(usage, edge::guard))
}
