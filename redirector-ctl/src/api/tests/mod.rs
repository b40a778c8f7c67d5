//! The API as its clients see it: the real router and the real `core`, without kernel tables.

mod bad_input;
mod dashboard;
pub(crate) mod harness;
mod listening;
mod pages;
mod plans;
mod resources;
mod slow;
mod streams;
mod supervision;

use super::openapi_document;

#[test]
fn the_committed_openapi_document_is_that_of_the_routes() {
    let committed = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json"));
    assert!(
        committed == openapi_document(),
        "the API has changed; write its description anew, look at the difference and commit it:\n  \
         cargo run -p redirector-ctl -- openapi > redirector-ctl/openapi.json"
    );
}
