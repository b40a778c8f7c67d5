//! Good requests: what each resource shows and how it changes.

use axum::body::Body;
use axum::http::{StatusCode, header};
use serde_json::json;

use super::harness::{Lab, request};

#[tokio::test]
async fn the_status_shows_interfaces_and_how_full_the_tables_are() {
    let answer = Lab::new().get("/v1/status").await;
    assert_eq!(answer.status, StatusCode::OK);
    let status = answer.json();
    assert_eq!(status["servers_len"], 3);
    assert_eq!(status["devices_len"], 2);
    assert_eq!(status["uptime_ms"], 5000);
    assert_eq!(status["started_at"], "2026-01-31T11:59:55.000Z");
    assert_eq!(status["flows"], json!({"used": 6, "max": 262_144}));
    assert_eq!(status["interfaces"][1]["name"], "servers0");
    assert_eq!(status["interfaces"][1]["mac"], "02:00:00:00:00:01");
}

#[tokio::test]
async fn every_answer_carries_the_generation_and_an_id() {
    let lab = Lab::new();
    let generation = lab.spec().await.generation;
    let paths = ["status", "servers", "servers/s1", "devices", "devices/disk-a", "associations"];
    for path in paths.into_iter().chain(["associations/disk-a", "events"]) {
        let answer = lab.get(&format!("/v1/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header(header::ETAG), format!("\"{generation}\""), "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_request_keeps_the_id_that_its_client_gave_it_if_it_is_plain() {
    let lab = Lab::new();
    for (given, kept) in [("trace-17:a", true), ("a b", false), (&"x".repeat(65), false)] {
        let mut asked = request("GET", "/v1/status", Body::empty());
        asked.headers_mut().insert("x-request-id", given.parse().expect("a header value"));
        let answer = lab.send(asked).await;
        assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
    }
}

#[tokio::test]
async fn a_server_shows_its_health_its_way_and_its_devices() {
    let server = Lab::new().get("/v1/servers/s1").await.json();
    assert_eq!(server["address"], "10.0.2.11");
    assert_eq!(server["state"], "active");
    assert_eq!(server["health"], "healthy");
    assert_eq!(server["probe_ms"], 0.5);
    assert_eq!(server["next_hop"], json!({"mac": "02:00:00:00:00:07", "interface": "servers0"}));
    assert_eq!(server["devices"], json!(["disk-a"]));
    assert_eq!(server["flows_len"], 3);
}

#[tokio::test]
async fn a_server_is_created_replaced_and_removed() {
    let lab = Lab::new();
    let created = lab.put("/v1/servers/s4", json!({"address": "10.0.2.14"})).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.json()["state"], "filling", "it is new");
    assert_eq!(created.json()["filling"]["part_max"], 0.0);
    let drained = lab.patch("/v1/servers/s4", json!({"state": "draining"})).await;
    assert_eq!(drained.json()["state"], "draining");
    let replaced = lab.put("/v1/servers/s4", json!({"address": "10.0.2.15"})).await;
    assert_eq!(replaced.status, StatusCode::OK);
    assert_eq!(replaced.json()["address"], "10.0.2.15");
    assert_eq!(replaced.json()["state"], "draining", "a new address does not undo the drain");
    assert_eq!(lab.delete("/v1/servers/s4").await.status, StatusCode::NO_CONTENT);
    assert_eq!(lab.get("/v1/servers/s4").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_device_is_created_with_defaults_replaced_and_removed() {
    let lab = Lab::new();
    let body = json!({"address": "10.0.1.102", "port": 3260, "servers": ["s3", "s1"]});
    let created = lab.put("/v1/devices/disk-c", body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{:?}", created.json());
    let device = created.json();
    assert_eq!(device["server_port"], 3260);
    assert_eq!(device["protocol"], "tcp");
    assert_eq!(device["on_planned"], json!({"kind": "drain", "deadline_ms": 3_600_000}));
    assert_eq!(device["association"]["server"], "s3");
    assert_eq!(device["flows_by_server"], json!({"s3": 3}));
    let body = json!({
        "address": "10.0.1.102", "port": 3260, "servers": ["s1"], "protocol": "udp",
        "on_planned": {"kind": "reset"}, "check": "greeting", "server_port": 3261, "server": "s1"
    });
    let replaced = lab.put("/v1/devices/disk-c", body).await;
    assert_eq!(replaced.status, StatusCode::OK, "{:?}", replaced.json());
    assert_eq!(replaced.json()["on_planned"], json!({"kind": "reset"}));
    assert_eq!(replaced.json()["check"], "greeting");
    assert_eq!(lab.delete("/v1/devices/disk-c").await.status, StatusCode::NO_CONTENT);
    assert_eq!(lab.get("/v1/devices/disk-c").await.problem()["code"], "unknown_device");
}

#[tokio::test]
async fn what_the_api_shows_of_a_policy_it_also_takes() {
    let lab = Lab::new();
    for policy in [json!({"kind": "keep"}), json!({"kind": "drain", "deadline_ms": 5000})] {
        let body = json!({"server": "s2", "policy": policy});
        assert_eq!(lab.put("/v1/associations/disk-a", body).await.status, StatusCode::OK);
        let body = json!({"server": "s1"});
        assert_eq!(lab.put("/v1/associations/disk-a", body).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_the_api_shows_of_a_check_it_also_takes() {
    let lab = Lab::new();
    let check = json!({"kind": "http", "path": "/health", "status_max": 299});
    let body = json!({
        "address": "10.0.1.102", "port": 80, "servers": ["s1"], "check": check,
        "check_interval_ms": 1000, "check_timeout_ms": 500, "rise": 3, "fall": 4,
    });
    let shown = lab.put("/v1/devices/disk-c", body.clone()).await.json();
    for field in ["check", "check_interval_ms", "check_timeout_ms", "rise", "fall"] {
        assert_eq!(shown[field], body[field], "{field}: {shown}");
    }
}

#[tokio::test]
async fn what_the_api_shows_of_a_treatment_it_also_takes() {
    let lab = Lab::new();
    let plain = json!({"address": "10.0.1.102", "port": 3260, "servers": ["s1"]});
    let shown = lab.put("/v1/devices/disk-c", plain).await.json();
    assert_eq!(
        (&shown["forwarding"], &shown["tracking"], &shown["affinity"], &shown["ports"]),
        (&json!("nat"), &json!("tracked"), &json!("flow"), &json!([]))
    );
    let body = json!({
        "address": "10.0.1.102", "port": 3260, "servers": ["s1"], "server_port": 3260,
        "ports": ["870", "860-869", 3261], "protocol": "tcp", "forwarding": "dsr",
        "tracking": "tracked", "affinity": "client", "mss_max": 1400, "tcp_idle_timeout_ms": 60000,
    });
    let mut expected = body.clone();
    expected["ports"] = json!(["860-870", "3261"]);
    let shown = lab.put("/v1/devices/disk-c", body).await.json();
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&shown[field], value, "{field}: {shown}");
    }
    let stateless = json!({
        "address": "10.0.1.103", "protocol": "any", "servers": ["s1"], "tracking": "stateless",
        "udp_idle_timeout_ms": 5000,
    });
    let shown = lab.put("/v1/devices/disk-d", stateless).await.json();
    assert_eq!((&shown["port"], &shown["server_port"]), (&json!(0), &json!(0)), "{shown}");
    assert_eq!(shown["udp_idle_timeout_ms"], 5000);
    assert_eq!(shown["tracking"], "stateless");
}

#[tokio::test]
async fn servers_and_devices_of_ipv6_come_and_go() {
    let lab = Lab::new();
    let server = lab.put("/v1/servers/v6", json!({"address": "fd00:2::11"})).await;
    assert_eq!(server.json()["address"], "fd00:2::11");
    let body = json!({"address": "fd00:1:0::102", "port": 3260, "servers": ["v6"]});
    let device = lab.put("/v1/devices/disk-v6", body).await;
    assert_eq!(device.status, StatusCode::CREATED, "{:?}", device.json());
    assert_eq!(device.json()["address"], "fd00:1::102");
    assert_eq!(lab.delete("/v1/devices/disk-v6").await.status, StatusCode::NO_CONTENT);
    assert_eq!(lab.delete("/v1/servers/v6").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_move_drains_the_old_server_until_the_deadline() {
    let lab = Lab::new();
    let policy = json!({"kind": "drain", "deadline_ms": 1500});
    let body = json!({"server": "s2", "policy": policy});
    let answer = lab.put("/v1/associations/disk-a", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
    let moved = answer.json();
    assert_eq!(moved["generation"], lab.spec().await.generation);
    assert_eq!(moved["associations"][0]["device"], "disk-a");
    assert_eq!(moved["associations"][0]["server"], "s2");
    assert_eq!(moved["associations"][0]["cause"], "planned");
    let drain = &moved["associations"][0]["drains"][0];
    assert_eq!(drain["server"], "s1");
    assert_eq!(drain["deadline_at"], "2026-01-31T12:00:01.500Z");
    assert_eq!(drain["flows_len"], 3);
    let carried = json!({"bytes_max": 1000, "since": "2026-01-31T11:59:59.000Z"});
    assert_eq!(drain["carried"], carried, "2000 by the device, 1000 by its server");
    let server = lab.get("/v1/servers/s1").await.json();
    assert_eq!(server["draining"], json!({"flows_len": 3, "clients_len": 0, "carried": carried}),);
    assert_eq!(lab.get("/v1/servers/s2").await.json()["draining"], json!(null));
    let device = lab.get("/v1/devices/disk-a").await.json();
    assert_eq!(device["flows_by_server"], json!({"s1": 3, "s2": 3}));
    assert_eq!(device["flows_len"], 6);
}

#[tokio::test]
async fn a_bulk_move_happens_as_a_whole() {
    let lab = Lab::new();
    let before = lab.spec().await.generation;
    let associations =
        json!([{"device": "disk-a", "server": "s3"}, {"device": "disk-b", "server": "s3"}]);
    let answer = lab.patch("/v1/associations", json!({"associations": associations})).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
    assert_eq!(answer.json()["generation"], before + 1);
    let items = lab.get("/v1/associations").await.json()["items"].clone();
    assert_eq!((&items[0]["server"], &items[1]["server"]), (&json!("s3"), &json!("s3")));
}

#[tokio::test]
async fn many_devices_are_put_and_removed_as_a_whole_or_not_at_all() {
    let lab = Lab::new();
    let before = lab.spec().await.generation;
    let device = |n: u16| {
        let (address, port) = (format!("10.0.1.{n}"), 8000 + n);
        json!({ "address": address, "port": port, "servers": ["s1"] })
    };
    let put = json!({"disk-x": device(150), "disk-y": device(151)});
    let answer = lab.patch("/v1/devices", json!({"remove": ["disk-b"], "put": put})).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
    assert_eq!(answer.json()["generation"], before + 1);
    let names = || async { lab.spec().await.devices.keys().cloned().collect::<Vec<_>>() };
    assert_eq!(names().await, ["disk-a", "disk-x", "disk-y"]);

    let put = json!({"disk-v": device(152), "disk-w": device(151)});
    let refused = lab.patch("/v1/devices", json!({"remove": ["disk-a"], "put": put})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let told = refused.problem().to_string();
    assert!(told.contains("put.disk-w.") && !told.contains("put.disk-v."), "{told}");
    assert_eq!(names().await, ["disk-a", "disk-x", "disk-y"], "not the good part of it either");
}

#[tokio::test]
async fn a_move_to_where_the_device_is_changes_nothing() {
    let lab = Lab::new();
    let before = lab.spec().await;
    let answer = lab.put("/v1/associations/disk-a", json!({"server": "s1"})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["generation"], before.generation);
    assert_eq!(lab.spec().await, before);
}

#[tokio::test]
async fn a_change_with_the_present_generation_is_taken_and_with_an_older_one_refused() {
    let lab = Lab::new();
    let tag = lab.get("/v1/status").await.header(header::ETAG).to_owned();
    let change = |server: &str| {
        let body = Body::from(json!({ "server": server }).to_string());
        let mut asked = request("PUT", "/v1/associations/disk-a", body);
        asked.headers_mut().insert(header::IF_MATCH, tag.parse().expect("a header value"));
        asked
    };
    assert_eq!(lab.send(change("s2")).await.status, StatusCode::OK);
    let before = lab.spec().await;
    let stale = lab.send(change("s3")).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(stale.problem()["code"], "stale");
    assert_eq!(stale.header(header::ETAG), format!("\"{}\"", before.generation));
    assert_eq!(lab.spec().await, before);
}

#[tokio::test]
async fn what_is_only_to_be_created_replaces_nothing() {
    let lab = Lab::new();
    for (name, status) in [("s1", StatusCode::PRECONDITION_FAILED), ("s4", StatusCode::CREATED)] {
        let body = Body::from(json!({"address": "10.0.2.14"}).to_string());
        let mut asked = request("PUT", &format!("/v1/servers/{name}"), body);
        asked.headers_mut().insert(header::IF_NONE_MATCH, "*".parse().expect("a header value"));
        assert_eq!(lab.send(asked).await.status, status, "{name}");
    }
    assert_eq!(lab.spec().await.servers["s1"].address.to_string(), "10.0.2.11");
}

#[tokio::test]
async fn events_can_be_followed_from_the_last_one_seen() {
    let lab = Lab::new();
    for server in ["s2", "s3", "s1"] {
        lab.put("/v1/associations/disk-a", json!({ "server": server })).await;
    }
    let all = lab.get("/v1/events").await.json()["items"].clone();
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    let rest = lab.get("/v1/events?after=1&limit=1").await.json()["items"].clone();
    assert_eq!(rest[0]["id"], 2);
    assert_eq!(rest[0]["kind"], "change");
    assert_eq!(rest.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_api_describes_itself() {
    let answer = Lab::new().get("/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/json");
    assert!(answer.json()["paths"]["/v1/devices/{name}"]["put"].is_object());
}
