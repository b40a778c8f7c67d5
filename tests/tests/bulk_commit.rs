//! A commit of many devices is all or nothing for every packet (G1).

use redirector_tests::data_path::bulk::{Commit, run};

#[test]
fn no_packet_sees_a_mixture_of_two_bulk_commits() {
    let seen = run(Commit::Bulk, 1_000_000).unwrap();
    assert!(seen.commits > 10, "the writer hardly ran: {seen:?}");
    assert_eq!(seen.mixed, 0, "{seen:?}");
}

#[test]
fn commits_device_by_device_would_be_caught() {
    let seen = run(Commit::OneByOne, 1_000_000).unwrap();
    assert!(seen.mixed > 0, "the test cannot fail: {seen:?}");
}
