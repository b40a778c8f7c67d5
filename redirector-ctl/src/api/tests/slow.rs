//! Whatever hangs or breaks is answered or closed in time. The clock of these tests is not the
//! wall's: it jumps ahead when nothing is left to do.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use axum::{Extension, Router};
use futures::stream;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use super::super::edge;
use super::super::limits::WRITE_TIMEOUT;
use super::super::login::Entrance;
use super::super::usage::Usage;
use super::harness::{Lab, request};
use crate::daemon::DaemonHandle;

#[tokio::test(start_paused = true)]
async fn a_daemon_that_does_not_answer_is_a_problem_after_the_time_limit() {
    let (daemon, _unread) = DaemonHandle::new(1);
    let answer = Lab::before(daemon).get("/v1/status").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.problem()["code"], "timeout");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_a_problem_after_the_time_limit() {
    let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = Lab::new().send(request("PUT", "/v1/associations/disk-a", body)).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer.problem()["code"], "slow_body");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_problem() {
    let broken: Result<Bytes, _> = Err(std::io::Error::other("gone"));
    let body = Body::from_stream(stream::iter([broken]));
    let answer = Lab::new().send(request("PUT", "/v1/associations/disk-a", body)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.problem()["code"], "broken_body");
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_problem_and_the_next_request_is_served() {
    async fn handler() -> &'static str {
        panic!("on purpose")
    }
    let router = Router::new()
        .route("/bad", get(handler))
        .route("/good", get(async || "well"))
        .layer(CatchPanicLayer::custom(edge::panicked))
        .layer(axum::middleware::from_fn_with_state(Usage::default(), edge::guard))
        .layer(Extension(Entrance::Open));
    let ask = async |path: &str| {
        let asked = Request::get(path).body(Body::empty()).expect("a good request");
        let Ok(answer) = router.clone().oneshot(asked).await;
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("it is in memory").to_bytes())
    };
    let (status, body) = ask("/bad").await;
    let text = String::from_utf8_lossy(&body);
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.contains("\"code\":\"internal\"") && !text.contains("on purpose"), "{text}");
    assert_eq!(ask("/good").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_says_nothing_more_is_closed() {
    let (_directory, path) = Lab::on_socket().await;
    tokio::time::pause();
    for said in ["", "GET /v1/sta", "GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let mut stream = UnixStream::connect(&path).await.expect("it listens");
        stream.write_all(said.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        let begin = tokio::time::Instant::now();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(begin.elapsed().as_secs() <= 12, "{said:?} held its place: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answers_is_cut_off() {
    const ASKED: usize = 20;
    let (_directory, path) = Lab::on_socket().await;
    tokio::time::pause();
    let mut stream = UnixStream::connect(&path).await.expect("it listens");
    let asked = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(ASKED);
    stream.write_all(asked.as_bytes()).await.expect("it reads");
    // The first answers fill the socket; the next one does not get out.
    tokio::time::sleep(WRITE_TIMEOUT * 2).await;
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers).await;
    let answered = String::from_utf8_lossy(&answers).matches("HTTP/1.1 200").count();
    assert!((1..ASKED).contains(&answered), "{answered} of {ASKED} answers came");
}
