//! What supervisors and Prometheus ask, and changes that are accepted but not complete.

use axum::body::Body;
use axum::http::{StatusCode, header};
use serde_json::json;
use tokio::sync::watch;

use super::harness::{Lab, request};
use crate::daemon::{ChangeError, DaemonHandle, Request, Snapshot};

#[tokio::test]
async fn metrics_are_the_same_text_twice_and_name_what_the_spec_names() {
    let lab = Lab::new();
    let first = lab.get("/metrics").await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.header(header::CONTENT_TYPE), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(first.bytes).expect("it is UTF-8");
    for line in [
        "redirector_device_flows{device=\"disk-a\",server=\"s1\"} 3",
        "redirector_device_packets_total{device=\"disk-a\",direction=\"to_client\"} 10",
        "redirector_server_health{server=\"s1\",health=\"healthy\"} 1",
        "redirector_server_health{server=\"s1\",health=\"dead\"} 0",
        "redirector_server_check_seconds{server=\"s1\"} 0.0005",
        "redirector_table_entries_max{table=\"flows\"} 262144",
        "redirector_moves_total{cause=\"failure\"} 0",
        "redirector_loop_turn_seconds_bucket{le=\"+Inf\"} 0",
        "redirector_interface_mode{interface=\"clients0\",mode=\"native\"} 1",
        "redirector_server_load_ratio{server=\"s1\",signal=\"cpu\"} 0.95",
        "redirector_server_load_age_seconds{server=\"s1\",signal=\"cpu\"} 2",
        "redirector_server_load_score_ratio{server=\"s1\"} 0.95",
        "redirector_server_load_refused{server=\"s1\",why=\"full\"} 1",
        "redirector_server_load_refused{server=\"s1\",why=\"stale\"} 0",
        "redirector_server_load_refused{server=\"s2\",why=\"no_source\"} 1",
        "redirector_server_load_source_failed{server=\"s1\",source=\"metrics\"} 0",
        "redirector_server_load_forecast_ratio{server=\"s1\",percentile=\"50\"} 0.8",
        "redirector_server_load_forecaster{server=\"s1\",forecaster=\"weighted mean\"} 1",
        "redirector_device_forecast_bytes_per_second{device=\"disk-a\",percentile=\"90\"} 1536",
        "redirector_server_held_down{server=\"s3\"} 1",
        "redirector_server_held_down{server=\"s1\"} 0",
        "redirector_suspicions_total{kind=\"silent\"} 0",
        "redirector_confirming_checks_total{result=\"silent\"} 0",
        "redirector_plan_state{state=\"proposed\"} 1",
        "redirector_plan_state{state=\"stale\"} 0",
        "redirector_plan_moves 1",
        "redirector_plan_blocked 1",
        "redirector_plan_hottest_ratio{moves=\"before\"} 0.95",
        "redirector_plan_hottest_ratio{moves=\"after\"} 0.5",
    ] {
        assert!(text.lines().any(|have| have == line), "no {line} in:\n{text}");
    }
    let again = String::from_utf8(lab.get("/metrics").await.bytes).expect("it is UTF-8");
    let but_requests = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("redirector_api_requests_total"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(but_requests(&again), but_requests(&text));
}

#[tokio::test]
async fn with_more_devices_than_the_bound_metrics_have_none_of_them_and_say_so() {
    for (devices_max, left_out_len, is_there) in [(2, 0, true), (1, 2, false), (0, 2, false)] {
        let lab = Lab::with_series_of(devices_max, Lab::new().daemon);
        let text = String::from_utf8(lab.get("/metrics").await.bytes).expect("it is UTF-8");
        let line = format!("redirector_metrics_devices_left_out {left_out_len}");
        assert!(text.lines().any(|have| have == line), "no {line} in:\n{text}");
        assert_eq!(text.contains("device=\"disk-a\""), is_there, "{devices_max}");
        assert!(text.contains("redirector_server_health{server=\"s1\""), "servers have theirs");
    }
}

#[tokio::test]
async fn a_daemon_that_does_what_it_should_is_alive_and_ready() {
    let lab = Lab::new();
    let alive = lab.get("/v1/health").await;
    assert_eq!((alive.status, alive.json()), (StatusCode::OK, json!({"uptime_ms": 5000})));
    let ready = lab.get("/v1/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.json()["applied_generation"], lab.spec().await.generation);
}

/// What a test makes of a snapshot.
type Twist = fn(&mut Snapshot);

/// A lab whose daemon shows itself as `change` has made it.
fn shown_as(change: Twist) -> Lab {
    let inner = Lab::new();
    let (daemon, mut requests) = DaemonHandle::new(4);
    tokio::spawn(async move {
        while let Some(asked) = requests.recv().await {
            match asked {
                Request::Snapshot { answer } => {
                    let snapshot = inner.daemon.snapshot().await.expect("it runs");
                    let mut snapshot = Snapshot::clone(&snapshot);
                    change(&mut snapshot);
                    let _ = answer.send(std::sync::Arc::new(snapshot));
                }
                Request::Follow { answer } => {
                    let _ = answer.send(inner.daemon.follow().await.expect("it runs"));
                }
                _ => return,
            }
        }
    });
    Lab::before(daemon)
}

#[tokio::test]
async fn a_daemon_that_lacks_something_is_alive_but_not_ready_and_says_what() {
    let cases: [(Twist, &str); 3] = [
        (|shown| shown.interfaces[1].mode = "none".to_owned(), "not on interface servers0"),
        (|shown| shown.owed = vec!["cannot write state.json".to_owned()], "state.json"),
        (|shown| shown.applied_generation = 0, "the tables hold generation 0"),
    ];
    for (change, says) in cases {
        let lab = shown_as(change);
        assert_eq!(lab.get("/v1/health").await.status, StatusCode::OK, "{says}");
        let ready = lab.get("/v1/ready").await;
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "{says}");
        let problem = ready.problem();
        assert_eq!(problem["code"], "not_ready");
        assert!(problem["detail"].to_string().contains(says), "{problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_whose_loop_hangs_is_not_alive() {
    let (daemon, _unread) = DaemonHandle::new(1);
    let lab = Lab::before(daemon);
    let answer = lab.get("/v1/health").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.problem()["code"], "stalled");
}

#[tokio::test]
async fn a_change_that_is_not_complete_is_accepted_and_says_where_to_wait() {
    let (daemon, mut requests) = DaemonHandle::new(4);
    tokio::spawn(async move {
        while let Some(asked) = requests.recv().await {
            if let Request::Change { answer, .. } = asked {
                let what = "the disk is full".to_owned();
                let _ = answer.send(Err(ChangeError::NotApplied { generation: 7, what }));
            }
        }
    });
    let lab = Lab::before(daemon);
    let answer = lab.delete("/v1/servers/s1").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{:?}", answer.json());
    assert_eq!(answer.header(header::LOCATION), "/v1/status?wait_generation=7");
    assert_eq!(answer.header(header::ETAG), "\"7\"");
    assert_eq!(answer.json()["generation"], 7);
    assert!(answer.json()["detail"].to_string().contains("the disk is full"));
}

#[tokio::test(start_paused = true)]
async fn the_status_waits_for_a_generation_but_not_for_ever() {
    let lab = shown_as(|shown| shown.applied_generation = 3);
    let begin = tokio::time::Instant::now();
    let there = lab.get("/v1/status?wait_generation=3").await;
    assert_eq!((there.status, begin.elapsed().as_millis()), (StatusCode::OK, 0));
    let late = lab.get("/v1/status?wait_generation=4&wait_ms=5000").await;
    assert_eq!(late.json()["applied_generation"], 3);
    assert!((5000..5200).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    for query in ["wait_ms=0", "wait_ms=15001", "wait_generation=x", "wait=1"] {
        let refused = lab.get(&format!("/v1/status?{query}")).await;
        assert_eq!(refused.problem()["code"], "bad_query", "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_generation_looks_at_an_event_and_rarely_otherwise() {
    let (inner, latest) = (Lab::new(), watch::Sender::new(0_u64));
    let (events, (daemon, mut requests)) = (latest.clone(), DaemonHandle::new(4));
    let (looks, seen) = watch::channel(0_u64);
    tokio::spawn(async move {
        while let Some(asked) = requests.recv().await {
            match asked {
                Request::Snapshot { answer } => {
                    looks.send_modify(|len| *len += 1);
                    let shown = inner.daemon.snapshot().await.expect("it runs");
                    // The first event is that of the generation.
                    let applied_generation = 3 + *events.borrow();
                    let shown = Snapshot { applied_generation, ..Snapshot::clone(&shown) };
                    let _ = answer.send(std::sync::Arc::new(shown));
                }
                Request::Follow { answer } => drop(answer.send(events.subscribe())),
                _ => return,
            }
        }
    });
    let lab = Lab::before(daemon);
    let begin = tokio::time::Instant::now();
    lab.get("/v1/status?wait_generation=4&wait_ms=5000").await;
    let looks_len = *seen.borrow();
    assert!((2..=8).contains(&looks_len), "{looks_len} looks in {:?}", begin.elapsed());
    let begin = tokio::time::Instant::now();
    let told = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        latest.send_replace(1);
    };
    let (answer, ()) = tokio::join!(lab.get("/v1/status?wait_generation=4&wait_ms=5000"), told);
    assert_eq!(answer.json()["applied_generation"], 4);
    assert!((300..400).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn more_requests_than_the_rate_are_refused_and_told_to_come_again() {
    let lab = Lab::new();
    let mut refused = None;
    for _ in 0..100 {
        // The whole rate is used up; one more comes back with each millisecond.
        while lab.usage.may_ask(false) {}
        let answer = lab.send(request("GET", "/v1/nothing", Body::empty())).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a limit");
    assert_eq!(refused.problem()["code"], "too_many_requests");
    assert_eq!(refused.header("retry-after"), "1");
}
