//! Who is asked when, with servers on this host.

use super::*;
use crate::core::check::{Check, CheckPace};
use crate::core::spec::Protocol;

#[test]
fn very_many_paths_are_asked_less_often() {
    assert_eq!(turn_of(400), Duration::from_millis(200), "there is room for them");
    assert_eq!(turn_of(200_000), Duration::from_secs(100));
}

#[tokio::test]
async fn a_nudge_asks_again_at_once_and_a_new_target_begins_anew() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reports, mut results) = mpsc::channel(8);
    let hour = Duration::from_secs(3600);
    let timeout = Duration::from_secs(5);
    let timing = ProbeTiming { interval: hour, timeout, confirm_timeout: timeout, jitter_pct: 0 };
    let mut prober = Prober::new(timing, Clock::start(), reports);
    let path: Path = ("s1".into(), "disk-a".into());
    let (check, pace) = (Check::Connect, CheckPace::default());
    let target = Target { address, protocol: Protocol::Tcp, check, pace, service: None };
    let targets = BTreeMap::from([(path.clone(), target.clone())]);
    assert_eq!(prober.set_targets(&targets).len(), 1);
    let first = results.recv().await.unwrap();
    assert!(matches!(first.result, CheckResult::Answered { .. }), "{first:?}");

    assert_eq!(prober.set_targets(&targets), Vec::<Path>::new());
    drop(listener);
    prober.nudge(&path);
    let second = results.recv().await.unwrap();
    assert!(matches!(second.result, CheckResult::Refused(_)), "{second:?}");

    let elsewhere = Target { check: Check::Greeting, ..target };
    prober.set_targets(&BTreeMap::from([(path, elsewhere)]));
    assert!(!prober.is_current(&second));
}

#[tokio::test]
async fn a_suspect_is_asked_while_all_other_turns_are_taken() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reports, mut results) = mpsc::channel(8);
    let (interval, timeout) = (Duration::from_secs(3600), Duration::from_secs(5));
    let timing = ProbeTiming { interval, timeout, confirm_timeout: timeout, jitter_pct: 0 };
    let mut prober = Prober::new(timing, Clock::start(), reports);
    let turns = prober.asker.turns.clone();
    let _taken = turns.acquire_many(CHECKS_IN_FLIGHT_MAX as u32).await.unwrap();
    let path: Path = ("s1".into(), "disk-a".into());
    let (check, pace) = (Check::Connect, CheckPace::default());
    let target = Target { address, protocol: Protocol::Tcp, check, pace, service: None };
    prober.set_targets(&BTreeMap::from([(path.clone(), target)]));
    prober.confirm(&path);
    let asked = tokio::time::timeout(Duration::from_secs(60), results.recv()).await;
    assert_eq!(asked.unwrap().unwrap().manner, Manner::Confirming);
}

#[tokio::test]
async fn a_check_that_would_wait_long_is_given_up_for_one_that_confirms_a_suspicion() {
    // Nobody accepts: the kernel does, and no greeting ever comes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reports, mut results) = mpsc::channel(8);
    let (interval, timeout) = (Duration::from_secs(3600), Duration::from_secs(3));
    let confirm_timeout = Duration::from_millis(100);
    let timing = ProbeTiming { interval, timeout, confirm_timeout, jitter_pct: 0 };
    let mut prober = Prober::new(timing, Clock::start(), reports);
    let path: Path = ("s1".into(), "disk-a".into());
    let (check, pace) = (Check::Greeting, CheckPace::default());
    let target = Target { address, protocol: Protocol::Tcp, check, pace, service: None };
    // A path that has answered before is known to take no hour for it.
    let greeted = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"NBDMAGIC").await.unwrap();
        listener
    });
    prober.set_targets(&BTreeMap::from([(path.clone(), target)]));
    let first = results.recv().await.unwrap();
    assert!(matches!(first.result, CheckResult::Answered { .. }), "{first:?}");
    let _listener = greeted.await.unwrap();
    prober.nudge(&path);
    while prober.asker.turns.available_permits() == CHECKS_IN_FLIGHT_MAX {
        tokio::task::yield_now().await;
    }
    prober.confirm(&path);
    let second = results.recv().await.unwrap();
    assert_eq!(second.manner, Manner::Confirming);
    assert!(
        matches!(second.result, CheckResult::Refused(_) | CheckResult::NotAsked(_)),
        "{second:?}"
    );
}
