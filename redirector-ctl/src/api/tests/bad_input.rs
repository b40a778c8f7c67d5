//! Bad requests: each gets a problem that names what is wrong, and leaves everything as it was.

mod devices;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::harness::{Answer, Lab, request};
use crate::daemon::DaemonHandle;

/// Sends a request that must be refused, and checks that it changed nothing.
async fn refused(lab: &Lab, asked: Request<Body>) -> Answer {
    let before = lab.spec().await;
    let answer = lab.send(asked).await;
    assert!(answer.status.is_client_error(), "{answer:?}");
    assert_eq!(lab.spec().await, before, "a refused request changed the state: {answer:?}");
    answer
}

/// The status, the code, the field and the detail of a refused request.
async fn problem(asked: Request<Body>) -> (u16, String, String, String) {
    let answer = refused(&Lab::new(), asked).await;
    let problem = answer.problem();
    let text = |member: &str| problem[member].as_str().unwrap_or("").to_owned();
    (answer.status.as_u16(), text("code"), text("field"), text("detail"))
}

fn put(path: &str, body: Value) -> Request<Body> {
    request("PUT", path, Body::from(body.to_string()))
}

fn disk_c(with: Value) -> Request<Body> {
    let mut body = json!({"address": "10.0.1.102", "port": 3260, "servers": ["s1", "s2"]});
    let (Some(body_fields), Value::Object(with)) = (body.as_object_mut(), with) else {
        panic!("both are objects");
    };
    body_fields.extend(with);
    put("/v1/devices/disk-c", body)
}

/// Checks a refused request against `status code field` and a part of its detail.
async fn assert_refused(asked: Request<Body>, expected: (u16, &str, &str), says: &str) {
    let shown = format!("{} {}", asked.method(), asked.uri());
    let (status, code, field, detail) = problem(asked).await;
    assert_eq!((status, code.as_str(), field.as_str()), expected, "{shown}: {detail}");
    assert!(detail.contains(says), "{shown}: {detail}");
}

#[tokio::test]
async fn an_unknown_server_is_named_with_its_field() {
    let asked = put("/v1/associations/disk-a", json!({"server": "s9"}));
    assert_refused(asked, (422, "unknown_server", "server"), "there is no server s9").await;
    let asked = disk_c(json!({"servers": ["s1", "s9"]}));
    assert_refused(asked, (422, "unknown_server", "servers[1]"), "s9").await;
    let asked = request("PATCH", "/v1/servers/s9", Body::from(r#"{"state": "draining"}"#));
    assert_refused(asked, (404, "unknown_server", "name"), "s9").await;
    let asked = request("DELETE", "/v1/servers/s9", Body::empty());
    assert_refused(asked, (404, "unknown_server", "name"), "s9").await;
}

#[tokio::test]
async fn a_duplicate_address_is_named_with_its_holder() {
    let asked = put("/v1/servers/s4", json!({"address": "10.0.2.11"}));
    assert_refused(asked, (409, "duplicate_address", "address"), "server s1").await;
    let asked = disk_c(json!({"address": "10.0.1.100", "port": 10809}));
    assert_refused(asked, (409, "duplicate_service", "address"), "device disk-a").await;
    let asked = disk_c(json!({"server_port": 10901}));
    assert_refused(asked, (409, "duplicate_server_port", "server_port"), "device disk-a").await;
}

#[tokio::test]
async fn a_device_without_servers_is_refused() {
    let asked = disk_c(json!({"servers": []}));
    assert_refused(asked, (422, "no_servers", "servers"), "at least one server").await;
}

#[tokio::test]
async fn all_mistakes_of_one_body_are_reported_together() {
    let asked = disk_c(json!({"address": "224.0.0.1", "servers": ["s1", "s8", "s9", "s1"]}));
    let answer = refused(&Lab::new(), asked).await;
    let problems = answer.problem()["problems"].clone();
    let fields: Vec<&str> = problems
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|problem| problem["field"].as_str())
        .collect();
    assert_eq!(fields, ["address", "servers[1]", "servers[2]", "servers[3]"]);
}

#[tokio::test]
async fn a_bulk_change_with_one_mistake_moves_nothing() {
    let body = json!({"associations": [
        {"device": "disk-a", "server": "s2"}, {"device": "disk-b", "server": "s9"}
    ]});
    let asked = request("PATCH", "/v1/associations", Body::from(body.to_string()));
    assert_refused(asked, (422, "unknown_server", "associations[1].server"), "s9").await;
    let asked = request("PATCH", "/v1/associations", Body::from(r#"{"associations": []}"#));
    assert_refused(asked, (400, "no_moves", "associations"), "name a device").await;
}

#[tokio::test]
async fn a_body_that_is_not_json_is_told_where_it_breaks() {
    for body in ["", "{", "{\"server\": s2}", "\u{0}", "{\"server\": \"s2\"} {}"] {
        let asked = request("PUT", "/v1/associations/disk-a", Body::from(body));
        assert_refused(asked, (400, "malformed_json", ""), "at line 1 column").await;
    }
    let asked = request("PUT", "/v1/associations/disk-a", Body::from(vec![0xff, 0xfe]));
    assert_refused(asked, (400, "malformed_json", ""), "not JSON").await;
}

#[tokio::test]
async fn a_field_that_does_not_fit_is_named() {
    let asked = put("/v1/associations/disk-a", json!({"sever": "s2"}));
    assert_refused(asked, (400, "bad_field", "sever"), "expected `server` or `policy`").await;
    let asked = put("/v1/associations/disk-a", json!({}));
    assert_refused(asked, (400, "bad_field", "server"), "missing field `server`").await;
    let asked = disk_c(json!({"port": 70000}));
    assert_refused(asked, (400, "bad_field", "port"), "write 1 to 65535").await;
    let asked = disk_c(json!({"server_port": 0}));
    assert_refused(asked, (400, "bad_port", "server_port"), "use 1 to 65535").await;
    let asked = disk_c(json!({"port": -1}));
    assert_refused(asked, (400, "bad_field", "port"), "write 1 to 65535").await;
    let asked = disk_c(json!({"ports": ["860-870", "9-1"]}));
    assert_refused(asked, (400, "bad_field", "ports[1]"), "write one such as").await;
    let asked = disk_c(json!({"address": "10.0.1.256"}));
    assert_refused(asked, (400, "bad_field", "address"), "`10.0.1.256` is not an address").await;
    let asked = disk_c(json!({"servers": ["s1", 2]}));
    assert_refused(asked, (400, "bad_field", "servers[1]"), "expected a string").await;
    let asked = disk_c(json!({"protocol": "sctp"}));
    assert_refused(asked, (400, "bad_field", "protocol"), "expected one of `tcp`, `udp`, `any`")
        .await;
    let asked = disk_c(json!({"on_planned": {"kind": "drain", "deadline_ms": 0}}));
    assert_refused(asked, (400, "bad_field", "on_planned"), "write 1 to").await;
    let asked = disk_c(json!({"on_planned": {"kind": "keep", "deadline_ms": 5}}));
    assert_refused(asked, (400, "bad_field", "on_planned"), "only `drain` has").await;
    let asked = disk_c(json!({"on_planned": {"kind": "keep", "dead_line": 5}}));
    assert_refused(asked, (400, "bad_field", "on_planned.dead_line"), "unknown field").await;
    let asked = put("/v1/servers/s4", json!([]));
    assert_refused(asked, (400, "bad_field", ""), "expected struct").await;
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_refused() {
    let long = format!("{{\"server\": \"{}\"}}", "x".repeat(1 << 20));
    let asked = request("PUT", "/v1/associations/disk-a", Body::from(long));
    assert_refused(asked, (413, "body_too_large", ""), "1048576 bytes").await;
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let mut asked = put("/v1/associations/disk-a", json!({"server": "s2"}));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        asked.headers_mut().insert(header::CONTENT_TYPE, kind.parse().expect("a header value"));
        let body = Body::from(json!({"server": "s2"}).to_string());
        let mut asked_again = request("PUT", "/v1/associations/disk-a", body);
        *asked_again.headers_mut() = asked.headers().clone();
        assert_refused(asked_again, (415, "not_json", ""), "application/json").await;
    }
}

#[tokio::test]
async fn a_path_or_method_that_does_not_exist_is_a_problem_too() {
    let lab = Lab::new();
    for path in ["/v2", "/v2/servers", "/v1", "/v1/servers/", "/v1/servers/s1/x", "/v1/%ff"] {
        let answer = refused(&lab, request("GET", path, Body::empty())).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        answer.problem();
    }
    let answer = refused(&lab, request("POST", "/v1/servers", Body::empty())).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.problem()["code"], "unknown_method");
    assert_eq!(answer.header(header::ALLOW), "GET,HEAD");
    let answer = refused(&lab, request("GET", "/v1/servers/%ff", Body::empty())).await;
    assert_eq!(answer.problem()["code"], "bad_path");
}

#[tokio::test]
async fn a_query_that_does_not_fit_is_refused() {
    for query in ["after=x", "limit=0", "limit=1001", "limit=-1", "until=3", "after=1&after=2"] {
        let asked = request("GET", &format!("/v1/events?{query}"), Body::empty());
        let (status, code, ..) = problem(asked).await;
        assert_eq!((status, code.as_str()), (400, "bad_query"), "{query}");
    }
}

#[tokio::test]
async fn a_tag_that_no_answer_gave_is_refused() {
    for tag in ["12", "\"x\"", "\"1\", \"2\"", "W/\"1\"", "\"+1\"", "\"99999999999999999999999\""] {
        let mut asked = put("/v1/associations/disk-a", json!({"server": "s2"}));
        asked.headers_mut().insert(header::IF_MATCH, tag.parse().expect("a header value"));
        assert_refused(asked, (400, "bad_if_match", ""), "such as").await;
    }
}

#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    let lab = Lab::new();
    for (host, status) in [
        ("localhost", StatusCode::OK),
        ("LOCALHOST:7070", StatusCode::OK),
        ("127.0.0.1:7070", StatusCode::OK),
        ("[::1]:7070", StatusCode::OK),
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("10.0.1.1:7070", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1.evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("@@", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let mut asked = request("GET", "/v1/status", Body::empty());
        asked.headers_mut().insert(header::HOST, host.parse().expect("a header value"));
        assert_eq!(lab.send(asked).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_gone_is_a_problem_and_not_a_panic() {
    let (daemon, requests) = DaemonHandle::new(1);
    drop(requests);
    let lab = Lab::before(daemon);
    let answer = lab.get("/v1/status").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.problem()["code"], "unavailable");
}

/// JSON of every shape, often with names that the API knows.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "s1",
            "s2",
            "disk-a",
            "drain",
            "keep",
            "tcp",
            "any",
            "860-870",
            "dsr",
            "stateless",
            "10.0.2.11",
            "10.0.1.100",
            "active",
            "::1",
        ])
        .prop_map(str::to_owned),
        ".{0,12}",
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "address",
            "port",
            "servers",
            "server",
            "state",
            "policy",
            "kind",
            "deadline_ms",
            "associations",
            "device",
            "on_planned",
            "server_port",
            "protocol",
            "check",
            "ports",
            "forwarding",
            "tracking",
            "affinity",
            "mss_max",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0i64..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "v1",
            "servers",
            "devices",
            "associations",
            "status",
            "events",
            "flows",
            "health",
            "metrics",
            "s1",
            "disk-a",
            "openapi.json",
            "%00",
            "%ff",
            "..",
            "new-name",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9%._~!$&'()*+,;=:@-]{0,70}",
    ];
    let known = prop::sample::select(vec![
        "/v1/servers/s1",
        "/v1/servers/s9",
        "/v1/devices/disk-a",
        "/v1/devices/disk-z",
        "/v1/associations/disk-a",
        "/v1/associations",
    ]);
    prop_oneof![
        known.prop_map(str::to_owned),
        prop::collection::vec(piece, 0..5).prop_map(|pieces| format!("/{}", pieces.join("/"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_request_makes_the_api_fail(
        method in prop::sample::select(vec!["GET", "PUT", "PATCH", "DELETE", "POST", "HEAD"]),
        path in any_path(),
        body in prop_oneof![
            any_json().prop_map(|json| json.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..200),
        ],
    ) {
        let Ok(uri) = path.parse::<axum::http::Uri>() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let answer = runtime.expect("a runtime").block_on(async {
            let mut asked = request(method, "/", Body::from(body));
            *asked.uri_mut() = uri;
            let lab = Lab::new();
            let before = lab.spec().await;
            let answer = lab.send(asked).await;
            let changed = lab.spec().await != before;
            prop_assert!(answer.status.is_success() || !changed, "refused but done: {:?}", answer);
            Ok(answer)
        })?;
        prop_assert!(!answer.status.is_server_error(), "{:?}", answer);
        if answer.status.is_client_error() && method != "HEAD" {
            answer.problem();
        }
    }
}
