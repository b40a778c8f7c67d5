//! The dashboard at `/`: static files, embedded, for browsers. They ask the API like anybody else.
//!
//! Nothing of it is built or fetched from elsewhere, and the browser is told to accept nothing
//! else.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Api;

/// What a page of this origin may load: its own files, nothing inline. No other page may frame it,
/// so that none can make a user click on what he does not see.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the dashboard.
struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

/// The file `$name` of `src/ui`, at `$path`.
macro_rules! file {
    ($path:literal, $kind:expr, $name:literal) => {
        File { path: $path, kind: $kind, text: include_str!(concat!("../ui/", $name)) }
    };
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

static FILES: [File; 13] = [
    file!("/", HTML, "index.html"),
    file!("/ui/style.css", STYLE, "style.css"),
    file!("/ui/icon.svg", "image/svg+xml", "icon.svg"),
    file!("/ui/main.js", SCRIPT, "main.js"),
    file!("/ui/feed.js", SCRIPT, "feed.js"),
    file!("/ui/login.js", SCRIPT, "login.js"),
    file!("/ui/stream.js", SCRIPT, "stream.js"),
    file!("/ui/model.js", SCRIPT, "model.js"),
    file!("/ui/dom.js", SCRIPT, "dom.js"),
    file!("/ui/map.js", SCRIPT, "map.js"),
    file!("/ui/charts.js", SCRIPT, "charts.js"),
    file!("/ui/panels.js", SCRIPT, "panels.js"),
    file!("/ui/move.js", SCRIPT, "move.js"),
];

/// Whether a file is at `path`. They are alike for everybody and say nothing of this redirector, so
/// that a browser gets them before anybody has logged in.
pub(super) fn is_file(path: &str) -> bool {
    FILES.iter().any(|file| file.path == path)
}

/// Adds a route for each file.
pub(super) fn routes(router: Router<Api>) -> Router<Api> {
    FILES
        .iter()
        .fold(router, |router, file| router.route(file.path, get(async move || answer(file))))
}

/// A file. The browser asks anew each time, so that a page never outlives its daemon's version.
fn answer(file: &'static File) -> impl IntoResponse {
    let fixed = |name: HeaderName, value| (name, HeaderValue::from_static(value));
    let headers = [
        fixed(header::CONTENT_TYPE, file.kind),
        fixed(header::CACHE_CONTROL, "no-cache"),
        fixed(header::CONTENT_SECURITY_POLICY, POLICY),
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::REFERRER_POLICY, "no-referrer"),
        fixed(header::X_FRAME_OPTIONS, "DENY"),
        fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, file.text)
}
