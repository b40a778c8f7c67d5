//! A check that outlives lost packets: attempts that overlap, of which the first answer counts.
//!
//! One attempt takes three packets or more, and the loss of any of them leaves it waiting for a
//! retransmission, a second for a SYN. So whoever waits asks again instead, over a connection of
//! its own, from another port. Only when all attempts end unanswered has nobody answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore, watch};

use super::check::{Attempt, Outcome};
use super::knock::Asked;
use crate::core::health::CheckResult;
use crate::platform::clock::Stopwatch;

/// Connections of one check at most. With one packet in a hundred lost, an attempt of four packets
/// fails once in 25 times and six of them together once in 240 million times.
pub(super) const ATTEMPTS_MAX: u32 = 6;
/// Into so many parts the time for an answer is divided: an attempt begins with each of the first
/// five or six, so that the last one has a quarter of the time left.
const PARTS: u32 = 8;
/// A timer that fires so much too late says that we were kept from running: the runtime counts in
/// ms, and rounds up.
const LATE: Duration = Duration::from_millis(3);
/// How much time a check is given back at most, twice its own where that is more; then nothing can
/// be said. A gateway that is too busy for quick checks makes slower ones with that.
const ADDED_MAX: Duration = Duration::from_millis(500);

/// How long what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Until the server's kernel has accepted one connection.
    pub(super) connect: Duration,
    /// Until the check is answered.
    pub(super) answer: Duration,
    /// How long the answer usually takes at most; None when that is not known.
    pub(super) usual: Option<Duration>,
}

impl Limits {
    /// From one attempt to the next.
    fn step(&self) -> Duration {
        self.connect / PARTS
    }

    /// From the first attempt to the second, which a server that usually takes its time should not
    /// have to bear.
    fn first_step(&self) -> Duration {
        let step = self.step();
        self.usual.map_or(step, |usual| usual.clamp(step, 2 * step))
    }
}

/// What came of a check.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) result: CheckResult,
    /// How long the server's kernel took to accept a connection, in us; None if none was.
    pub(super) accepted_us: Option<u64>,
}

/// What a check is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    /// Makes one check's numbers differ from another's.
    pub(super) chance: u32,
    /// Attempts after the first one need a turn each, and are left out when there is none.
    pub(super) spare: &'a Semaphore,
    /// Says that packets speak against the server anew, so that a connection which it accepted
    /// before that proves nothing any more; None if that is not listened to.
    pub(super) anew: Option<&'a Notify>,
}

impl Means<'_> {
    async fn anew(&self) {
        match self.anew {
            Some(anew) => anew.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// Asks until somebody answers, or nobody has in time.
pub(super) async fn ask(asked: Asked<'_>, limits: Limits, means: Means<'_>) -> Finding {
    let accepted_us = AtomicU64::new(0);
    let result = race(asked, limits, means, &accepted_us).await;
    let accepted_us = accepted_us.into_inner();
    Finding { result, accepted_us: (accepted_us > 0).then_some(accepted_us) }
}

async fn race(
    asked: Asked<'_>,
    limits: Limits,
    means: Means<'_>,
    accepted_us: &AtomicU64,
) -> CheckResult {
    let (end, over) = watch::channel(false);
    let begin = |number: u32| {
        let (over, watch) = (over.clone(), Stopwatch::start());
        let once = Attempt { limit: limits.answer, over, watch, accepted_us };
        asked.attempt(once, means.chance.wrapping_add(number))
    };
    let mut attempts = FuturesUnordered::from_iter([begin(0)]);
    let mut schedule = Schedule::new(limits, if asked.is_lossy() { ATTEMPTS_MAX } else { 1 });
    let (mut turns, mut met) = (Vec::new(), None);
    loop {
        tokio::select! {
            biased;
            Some(outcome) = attempts.next() => match outcome {
                Outcome { result, timed_out: false } => return result,
                Outcome { result, .. } => met = Some(worse(met.take(), result)),
            },
            () = means.anew(), if schedule.is_met => schedule.begin_anew(accepted_us),
            step = schedule.next(accepted_us), if !schedule.is_over => match step {
                Step::Begin => match means.spare.try_acquire() {
                    Ok(turn) => {
                        turns.push(turn);
                        attempts.push(begin(schedule.made));
                        schedule.made += 1;
                    }
                    Err(_) => schedule.made_max = schedule.made,
                },
                Step::Wait => {}
                // Whoever is still asked says what came of it.
                Step::Over => {
                    end.send_replace(true);
                }
                Step::NobodyThere(after) => {
                    let ms = after.as_millis();
                    return CheckResult::Silent(format!("no connection within {ms} ms"));
                }
                Step::Lost(added) => {
                    let ms = added.as_millis();
                    return CheckResult::NotAsked(format!("our own timers were {ms} ms late"));
                }
            },
            else => break,
        }
        if attempts.is_empty() && schedule.made >= schedule.made_max {
            break;
        }
    }
    met.unwrap_or_else(|| CheckResult::NotAsked("no attempt was made".to_owned()))
}

/// When attempts begin and when the time is over. Time in which we did not run does not count: an
/// answer may have been waiting for us, and nobody may have heard our questions.
struct Schedule {
    watch: Stopwatch,
    limits: Limits,
    made: u32,
    made_max: u32,
    /// When the next attempt begins.
    next: Duration,
    /// Until when a connection must have been accepted.
    connect: Duration,
    /// Until when the check must have been answered.
    end: Duration,
    /// When we meant to be back at the latest; what is later was not ours.
    due: Duration,
    /// How much time was added.
    added: Duration,
    /// The server's kernel has accepted a connection, and only an answer is waited for.
    is_met: bool,
    is_over: bool,
}

/// What is to be done when its moment has come.
enum Step {
    Begin,
    Wait,
    Over,
    /// Nobody has accepted a connection in so long.
    NobodyThere(Duration),
    /// We were kept from running for so long that nothing can be said.
    Lost(Duration),
}

impl Schedule {
    fn new(limits: Limits, made_max: u32) -> Self {
        let Limits { connect, answer: end, .. } = limits;
        let (watch, next) = (Stopwatch::start(), limits.first_step());
        let (due, added) = (Duration::ZERO, Duration::ZERO);
        let (is_met, is_over) = (false, false);
        Self { watch, limits, made: 1, made_max, next, connect, end, due, added, is_met, is_over }
    }

    /// Wants a connection again, with new attempts, within the time that the first one had. The end
    /// of it all stays where it is.
    fn begin_anew(&mut self, accepted_us: &AtomicU64) {
        accepted_us.store(0, Ordering::Relaxed);
        self.is_met = false;
        self.next = self.watch.elapsed();
        self.connect = self.next.saturating_add(self.limits.connect);
        self.made_max = self.made.saturating_add(ATTEMPTS_MAX);
    }

    /// Waits for the next moment. May be given up and called again.
    async fn next(&mut self, accepted_us: &AtomicU64) -> Step {
        let mut now = self.watch.elapsed();
        if now.saturating_sub(self.due) <= LATE {
            let mut until = self.end.min(self.connect);
            if self.made < self.made_max {
                until = until.min(self.next);
            }
            self.due = until.max(now);
            tokio::time::sleep(until.saturating_sub(now)).await;
            now = self.watch.elapsed();
        }
        let late = now.saturating_sub(self.due);
        self.due = now;
        if late > LATE {
            return self.add(now, late);
        }
        if now >= self.end {
            self.is_over = true;
            return Step::Over;
        }
        if now >= self.connect {
            if accepted_us.load(Ordering::Relaxed) == 0 {
                self.is_over = true;
                return Step::NobodyThere(self.connect);
            }
            (self.connect, self.is_met) = (Duration::MAX, true);
        }
        if self.made < self.made_max && now >= self.next {
            self.next += self.limits.step();
            return Step::Begin;
        }
        Step::Wait
    }

    /// Gives back what was lost, and at least as much as that from now on; but however long it was,
    /// once more the whole time is enough to hear an answer.
    fn add(&mut self, now: Duration, late: Duration) -> Step {
        let longer = |end: Duration, limit: Duration| {
            end.saturating_add(late).max(now.saturating_add(late.min(limit)))
        };
        self.end = longer(self.end, self.limits.answer);
        self.connect = longer(self.connect, self.limits.connect);
        self.added += late.min(self.limits.answer);
        if self.added > ADDED_MAX.max(2 * self.limits.answer) {
            self.is_over = true;
            return Step::Lost(self.added);
        }
        Step::Wait
    }
}

/// What is told of several attempts that all ended without an answer: that we could not hear it,
/// else what the first one met with that says more than silence.
fn worse(known: Option<CheckResult>, new: CheckResult) -> CheckResult {
    use CheckResult::{NotAsked, Silent};
    match (known, new) {
        (None, new) => new,
        (Some(known @ NotAsked(_)), _) => known,
        (Some(_), new @ NotAsked(_)) => new,
        (Some(Silent(_)), new) if !matches!(new, Silent(_)) => new,
        (Some(known), _) => known,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use socket2::{Domain, Socket, Type};
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::super::{Path, Target};
    use super::*;
    use crate::core::check::{Check, CheckPace};
    use crate::core::spec::Protocol;

    const LONG: Duration = Duration::from_secs(8);

    fn limits(connect: Duration, answer: Duration) -> Limits {
        Limits { connect, answer, usual: None }
    }

    fn greeter(address: SocketAddr) -> Target {
        let (check, pace) = (Check::Greeting, CheckPace::default());
        Target { address, protocol: Protocol::Tcp, check, pace, service: None }
    }

    /// A server whose kernel lets so many wait to be accepted after the first, and drops what comes
    /// then.
    fn accepts_after_the_first(len: i32) -> (SocketAddr, Socket) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(len).unwrap();
        (socket.local_addr().unwrap().as_socket().unwrap(), socket)
    }

    async fn greeted(address: SocketAddr, limits: Limits) -> Finding {
        let target = greeter(address);
        let means = Means { chance: 7, spare: &Semaphore::new(9), anew: None };
        ask(Asked::Server(&target, &("s1".into(), "disk-a".into())), limits, means).await
    }

    /// Accepts connections, and greets on the last of `len` only; the others hear nothing.
    async fn greets_last_of(len: u32) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut silent = Vec::new();
            for _ in 1..len {
                silent.push(listener.accept().await.unwrap());
            }
            let (mut last, _) = listener.accept().await.unwrap();
            last.write_all(b"NBDMAGIC").await.unwrap();
        });
        (address, serving)
    }

    #[tokio::test]
    async fn one_answer_to_the_last_of_six_attempts_is_enough() {
        let (address, serving) = greets_last_of(ATTEMPTS_MAX).await;
        let found = greeted(address, limits(LONG, LONG)).await;
        assert!(matches!(found.result, CheckResult::Answered { .. }), "{found:?}");
        assert!(found.accepted_us.is_some());
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn without_spare_turns_a_check_makes_do_with_its_first_attempt() {
        let (address, _serving) = greets_last_of(2).await;
        let target = greeter(address);
        let limits = limits(Duration::from_millis(50), Duration::from_millis(50));
        let means = Means { chance: 7, spare: &Semaphore::new(0), anew: None };
        let found = ask(Asked::Server(&target, &Path::default()), limits, means).await;
        assert!(
            matches!(found.result, CheckResult::Refused(_) | CheckResult::NotAsked(_)),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn who_accepts_nothing_is_given_up_soon_and_who_accepts_is_waited_for() {
        let (address, _socket) = accepts_after_the_first(0);
        let _first = std::net::TcpStream::connect(address).unwrap();
        let watch = Stopwatch::start();
        let found = greeted(address, limits(Duration::from_millis(40), LONG)).await;
        assert!(matches!(found.result, CheckResult::Silent(_)), "{found:?}");
        assert!(found.accepted_us.is_none() && watch.elapsed() < LONG / 2);

        let (address, serving) = greets_last_of(ATTEMPTS_MAX).await;
        let found = greeted(address, limits(Duration::from_millis(40), LONG)).await;
        assert!(matches!(found.result, CheckResult::Answered { .. }), "{found:?}");
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn what_was_accepted_before_packets_speak_anew_proves_nothing() {
        let (address, _socket) = accepts_after_the_first(1);
        let target = greeter(address);
        let (spare, anew) = (Semaphore::new(9), Notify::new());
        let means = Means { chance: 7, spare: &spare, anew: Some(&anew) };
        let limits = limits(Duration::from_millis(40), LONG);
        let path = Path::default();
        let mut asking = std::pin::pin!(ask(Asked::Server(&target, &path), limits, means));
        // Two connections are accepted and stay unanswered; nobody else gets in from then on.
        let still = tokio::time::timeout(4 * limits.connect, &mut asking).await;
        assert!(still.is_err(), "{still:?}");
        anew.notify_one();
        let found = tokio::time::timeout(LONG / 2, asking).await.unwrap();
        assert!(matches!(found.result, CheckResult::Silent(_)), "{found:?}");
        assert!(found.accepted_us.is_none());
    }

    #[test]
    fn what_we_did_not_hear_is_no_verdict_and_an_accepted_connection_tells_more_than_silence() {
        let silent = || CheckResult::Silent("no answer".to_owned());
        let hangs = || CheckResult::Refused("it accepted".to_owned());
        let late = || CheckResult::NotAsked("late".to_owned());
        let all = |met: [CheckResult; 3]| met.into_iter().fold(None, |k, n| Some(worse(k, n)));
        assert_eq!(all([silent(), hangs(), silent()]), Some(hangs()));
        assert_eq!(all([hangs(), late(), silent()]), Some(late()));
        assert_eq!(all([silent(), silent(), silent()]), Some(silent()));
    }
}
