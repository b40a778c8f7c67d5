//! The routes and the OpenAPI document, from one list: neither can have what the other lacks.

use std::sync::Arc;

use axum::http::{Method, header};
use axum::response::IntoResponse;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{IntoResponses, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Pending, ProblemBody};
use super::role::{Role, needed};
use super::{
    Api, associations, clients, device_list, devices, events, explain, health, history,
    many_devices, metrics, open_flows, plan, recorder, servers, status, whatif, whoami,
};

/// What the document says of the API as a whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Redirector",
        description = "Servers, devices and through which server each device is reached.\n\n\
            Every answer carries the generation of the desired state as its `ETag`. Send it back \
            as `If-Match` with a change, and the change is refused with 412 if somebody else was \
            faster. A change is on disk and in the packet path when it is answered with 200, 201 \
            or 204; with 202 it is accepted and not complete yet, and \
            `/v1/status?wait_generation=` waits for it. A refused change leaves everything as it \
            was. Times are RFC 3339 in UTC; durations end in `_ms`.\n\n\
            The unix socket asks nobody who he is, a port with credentials asks everybody, also \
            about the daemon's health. Roles: `viewer` reads, `operator` also moves (moves, \
            drains, plans, closing of flows), `admin` may everything; each operation's security \
            names the least one.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "status", description = "The daemon and the packet path"),
        (name = "servers", description = "Heads through which devices are reached"),
        (name = "devices", description = "What clients reach at one address"),
        (name = "associations", description = "Through which server each device is reached"),
        (name = "plan", description = "Loads, and what is to be moved for them"),
        (name = "events", description = "What happened"),
        (name = "flows", description = "Open flows, one by one"),
        (name = "recorder", description = "What became of the last packets, as files"),
        (name = "explain", description = "What becomes of a packet, and what if a server died"),
    )
)]
struct Document;

/// Problems that a reading request may meet with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its derived description is used")]
pub(super) enum ReadProblems {
    /// The request makes no sense.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemBody),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(ProblemBody),
    /// More requests come than are taken.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemBody),
    /// The daemon is stopping or does not answer.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}

/// Problems that a question with a body may meet with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its derived description is used")]
pub(super) enum AskProblems {
    /// The request makes no sense.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemBody),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(ProblemBody),
    /// The body did not arrive in time.
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(ProblemBody),
    /// The body is longer than 1 MiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody),
    /// The body is not declared as JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(ProblemBody),
    /// It is well-formed, but there is no answer to it.
    #[response(status = 422, content_type = "application/problem+json")]
    Refused(ProblemBody),
    /// More requests come than are taken.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemBody),
    /// The daemon is stopping, is asked too much, or the kernel refuses.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}

/// Problems that a change may meet with; nothing has changed then, unless the detail says so.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its derived description is used")]
pub(super) enum ChangeProblems {
    /// It is made, but not yet in the packet path or not yet safe on disk; the daemon keeps trying.
    #[response(status = 202)]
    Pending(Pending),
    /// The request makes no sense.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemBody),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(ProblemBody),
    /// The body did not arrive in time.
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(ProblemBody),
    /// It collides with something that exists.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(ProblemBody),
    /// The state has changed since the generation in `If-Match`.
    #[response(status = 412, content_type = "application/problem+json")]
    Stale(ProblemBody),
    /// The body is longer than 1 MiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody),
    /// The body is not declared as JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(ProblemBody),
    /// It is well-formed, but it cannot be done.
    #[response(status = 422, content_type = "application/problem+json")]
    Refused(ProblemBody),
    /// More requests come than are taken.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemBody),
    /// The daemon is stopping or cannot write.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}

/// All routes with their descriptions.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status::get_status))
        .routes(routes!(health::get_health))
        .routes(routes!(whoami::get_caller))
        .routes(routes!(health::get_ready))
        .routes(routes!(metrics::get_metrics))
        .routes(routes!(servers::list_servers))
        .routes(routes!(
            servers::get_server,
            servers::put_server,
            servers::patch_server,
            servers::delete_server
        ))
        .routes(routes!(device_list::list_devices, many_devices::patch_devices))
        .routes(routes!(devices::get_device, devices::put_device, devices::delete_device))
        .routes(routes!(clients::put_client))
        .routes(routes!(associations::list_associations, associations::patch_associations))
        .routes(routes!(associations::get_association, associations::put_association))
        .routes(routes!(events::list_events))
        .routes(routes!(plan::get_plan))
        .routes(routes!(plan::apply_plan))
        .routes(routes!(plan::discard_plan))
        .routes(routes!(history::get_history))
        .routes(routes!(open_flows::list_flows))
        .routes(routes!(open_flows::close_flow))
        .routes(routes!(recorder::get_recorder))
        .routes(routes!(recorder::list_dumps, recorder::make_dump))
        .routes(routes!(recorder::get_dump))
        .routes(routes!(explain::explain))
        .routes(routes!(whatif::explain_death))
}

/// The OpenAPI document as text; `openapi.json` in the crate's directory is this.
#[must_use]
pub fn document() -> String {
    to_json(&guarded(routes().into_openapi()))
}

/// The document with what every operation has in common: how to show who one is, the least role,
/// and the refusals.
pub(super) fn guarded(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                guard(operation, needed(&method, path));
            }
        }
    }
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token that `redirector token new` made. Asked for where `[api]` has `credentials`; \
         never on the unix socket.",
    ));
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
    components.add_security_scheme(
        CERTIFICATE,
        SecurityScheme::MutualTls {
            description: Some(
                "A client certificate of an authority in `client_ca`; the file of credentials \
                 says who has which of its names."
                    .to_owned(),
            ),
            deprecated: None,
            extensions: None,
        },
    );
    document
}

const BEARER: &str = "bearer";
const CERTIFICATE: &str = "certificate";

fn guard(operation: &mut Operation, least: Role) {
    operation.security = Some(vec![
        SecurityRequirement::new(BEARER, [least.name()]),
        SecurityRequirement::new(CERTIFICATE, [least.name()]),
        SecurityRequirement::default(),
    ]);
    let responses = &mut operation.responses.responses;
    let Some(RefOr::T(like)) = responses.get("429").cloned() else { return };
    let says = |text: &str| {
        let mut response = like.clone();
        response.description = text.to_owned();
        RefOr::T(response)
    };
    let known = "Nobody is known by these credentials, or there are none.";
    responses.insert("401".to_owned(), says(known));
    responses.insert("403".to_owned(), says("The role is too low for this."));
}

/// The text of a document, with a final line break.
pub(super) fn to_json(document: &utoipa::openapi::OpenApi) -> String {
    let mut text =
        document.to_pretty_json().expect("a document of texts, numbers and lists is always JSON");
    text.push('\n');
    text
}

/// Answers `GET /openapi.json`.
pub(super) fn answer(text: &Arc<str>) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], text.to_string())
}
