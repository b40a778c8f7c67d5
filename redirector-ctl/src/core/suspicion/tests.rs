//! What makes a server suspect, and what does not.

use proptest::prelude::*;

use super::*;

const PATIENCE: Patience = Patience { interval_ms: 20, silence_ms: 30 };

/// Looks every 20 ms; gives the suspicions with the number of their look.
fn looks(signs: &[ServerCount]) -> Vec<(usize, Suspicion)> {
    let mut watch = Watch::default();
    let at = |n: usize| 1000 + 20 * n as u64;
    let look = |(n, signs): (usize, &ServerCount)| Some((n, watch.look(*signs, at(n), PATIENCE)?));
    signs.iter().enumerate().filter_map(look).collect()
}

fn talk(waiting: u64, answered: u64) -> ServerCount {
    ServerCount { waiting, answered, ..ServerCount::default() }
}

fn handshakes(opened: u64, accepted: u64) -> ServerCount {
    ServerCount { opened, accepted, ..ServerCount::default() }
}

#[test]
fn a_server_that_is_asked_and_says_nothing_is_suspected_after_its_time() {
    let signs = [talk(0, 5), talk(1, 5), talk(2, 5), talk(2, 5), talk(2, 5)];
    assert_eq!(looks(&signs), [(3, Suspicion::Silent { for_ms: 40 })]);
}

#[test]
fn questions_that_came_with_the_last_answers_count() {
    let signs = [talk(0, 5), talk(3, 9), talk(3, 9), talk(3, 9)];
    assert_eq!(looks(&signs), [(3, Suspicion::Silent { for_ms: 40 })]);
}

#[test]
fn a_server_that_answers_is_not_suspected_however_much_it_is_asked() {
    let signs: Vec<ServerCount> = (0..50).map(|n| talk(1 + n % 7, 5 + n)).collect();
    assert_eq!(looks(&signs), []);
}

#[test]
fn clients_that_stop_asking_accuse_nobody() {
    let signs = [talk(1, 5), talk(0, 9), talk(0, 9), talk(0, 9), talk(0, 9), talk(0, 9)];
    assert_eq!(looks(&signs), []);
    // Answers that another CPU has seen leave questions waiting here for ever.
    let signs = [talk(7, 9); 20];
    assert_eq!(looks(&signs), []);
}

#[test]
fn syns_without_answer_are_a_suspicion_even_while_others_are_answered() {
    let busy =
        |n: u64, opened, accepted| ServerCount { answered: n, ..handshakes(opened, accepted) };
    let signs = [busy(1, 4, 4), busy(2, 5, 4), busy(3, 5, 4), busy(4, 5, 4)];
    assert_eq!(looks(&signs), [(3, Suspicion::Unaccepted { for_ms: 40 })]);
    let well = [busy(1, 4, 4), busy(2, 5, 4), busy(3, 5, 5), busy(4, 6, 5), busy(5, 6, 6)];
    assert_eq!(looks(&well), []);
}

#[test]
fn a_refusal_or_an_error_is_a_suspicion_at_once_and_again_only_after_a_rest() {
    let refused = |refused| ServerCount { refused, ..ServerCount::default() };
    assert_eq!(looks(&[refused(1), refused(2)]), [(1, Suspicion::Refused)]);
    let error = |unreachable| ServerCount { unreachable, ..ServerCount::default() };
    assert_eq!(looks(&[error(0), error(1)]), [(1, Suspicion::Unreachable)]);
    let flood: Vec<ServerCount> = (0..500).map(refused).collect();
    let told: Vec<usize> = looks(&flood).into_iter().map(|(n, _)| n).collect();
    assert_eq!(told, [1, 11, 31, 71, 151, 311], "rests of 0.2, 0.4, 0.8 .. s");
}

#[test]
fn whoever_looks_too_late_begins_anew() {
    for late_ms in [50, 500, 5000] {
        let mut watch = Watch::default();
        assert_eq!(watch.look(talk(0, 5), 1000, PATIENCE), None);
        assert_eq!(watch.look(talk(1, 5), 1020, PATIENCE), None);
        // Nothing was heard meanwhile, but we did not listen either.
        let found = watch.look(talk(2, 5), 1020 + late_ms, PATIENCE);
        assert_eq!(found.is_some(), late_ms <= 80, "{late_ms} ms late: {found:?}");
    }
}

#[test]
fn a_new_holder_of_the_place_is_not_accused_of_the_earlier_ones_silence() {
    let signs = [talk(3, 500), talk(4, 500), talk(1, 0), talk(1, 0)];
    assert_eq!(looks(&signs), []);
}

proptest! {
    /// Whatever is asked and however irregular the looks: a server that has answered in every
    /// look of the last `silence_ms` is never suspected of silence.
    #[test]
    fn who_answers_between_any_two_looks_is_never_silent(
        steps in proptest::collection::vec((1..200_u64, 0..50_u64), 1..200)
    ) {
        let mut watch = Watch::default();
        let (mut now_ms, mut answered) = (0, 0);
        for (pause_ms, waiting) in steps {
            now_ms += pause_ms;
            answered += 1;
            prop_assert_eq!(watch.look(talk(waiting, answered), now_ms, PATIENCE), None);
        }
    }

    /// A server that is never asked is never suspected.
    #[test]
    fn who_is_not_asked_is_never_suspected(
        pauses in proptest::collection::vec(1..200_u64, 1..200), waiting in 0..9_u64
    ) {
        let (mut watch, mut now_ms) = (Watch::default(), 0);
        for pause_ms in pauses {
            now_ms += pause_ms;
            prop_assert_eq!(watch.look(talk(waiting, 77), now_ms, PATIENCE), None);
        }
    }
}

/// Looks every 5 ms at a server that answers each question after `gap` looks; gives the suspicions.
fn answering_after(gap: usize, looks_len: usize) -> Vec<Suspicion> {
    let mut watch = Watch::default();
    let patience = Patience { interval_ms: 5, silence_ms: 10 };
    let look = |n: usize| {
        let (round, phase) = (n / gap, n % gap);
        let signs = talk(u64::from(phase != 0), round as u64);
        watch.look(signs, 1000 + 5 * n as u64, patience)
    };
    (0..looks_len).filter_map(look).collect()
}

#[test]
fn a_silence_that_came_to_nothing_is_allowed_from_then_on() {
    let told = answering_after(5, 400);
    assert_eq!(told, [Suspicion::Silent { for_ms: 10 }], "in two seconds of gaps of 25 ms");
    // What was learnt is forgotten by and by.
    let told = answering_after(5, 6000).len();
    assert!((2..=4).contains(&told), "in thirty seconds: {told}");
}

#[test]
fn while_it_lasts_a_silence_is_told_again_each_time_it_has_doubled() {
    let mut watch = Watch::default();
    let patience = Patience { interval_ms: 5, silence_ms: 10 };
    let mut told = Vec::new();
    for n in 0..100 {
        // Somebody asks for the first time in the second look.
        let found = watch.look(talk(n, 5), 5 * n, patience);
        told.extend(found.map(|suspicion| suspicion.to_string()));
    }
    let after = |ms: u64| format!("asked, but silent for {ms} ms");
    assert_eq!(told, [10, 20, 40, 80, 160, 320].map(after));
}

#[test]
fn a_server_is_heard_since_the_look_before_its_packets_came() {
    let mut watch = Watch::default();
    watch.look(talk(0, 5), 1000, PATIENCE);
    assert_eq!(watch.heard_since_ms(), None);
    watch.look(talk(1, 6), 1020, PATIENCE);
    assert_eq!(watch.heard_since_ms(), Some(1000));
    watch.look(talk(2, 6), 1040, PATIENCE);
    assert_eq!(watch.heard_since_ms(), Some(1000), "nothing more has come");
    watch.look(ServerCount { accepted: 1, ..talk(3, 6) }, 1060, PATIENCE);
    assert_eq!(watch.heard_since_ms(), Some(1040), "an accepted connection is a word too");
}
