//! Under a busy log, long polls are answered in rounds.
//!
//! 1. A round begins with the first request that may be answered, at least an interval after the round before: what
//!    happens after a pause reaches followers at once.
//! 2. Everything that waited when a round began is answered in it. What asks afterwards waits for the next one, so that
//!    each follower is answered once in a round, with all that has happened since.
//! 3. The answers of a round can be shared.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The shortest interval of rounds.
const SHORTEST: Duration = Duration::from_millis(5);
/// The longest one: how much later than at once a follower may learn of a revocation.
const LONGEST: Duration = Duration::from_millis(250);
/// How much of an interval each follower costs: 2,000 answers a second in all.
const PER_FOLLOWER: Duration = Duration::from_micros(500);

#[derive(Debug, Default)]
pub(super) struct Pace {
    round: Mutex<Option<Round>>,
}

/// The last round.
#[derive(Clone, Copy, Debug)]
struct Round {
    begun: Instant,
    /// How many were answered in it.
    answered: usize,
}

impl Pace {
    /// How far apart rounds are when so many follow.
    fn interval(followers: usize) -> Duration {
        PER_FOLLOWER.saturating_mul(u32::try_from(followers).unwrap_or(u32::MAX)).clamp(SHORTEST, LONGEST)
    }

    /// Waits until a request of the moment `asked` is answered; the beginning of its round. `waiting` requests wait now.
    pub(super) async fn turn(&self, asked: Instant, waiting: impl Fn() -> usize) -> Instant {
        loop {
            match self.join(asked, waiting()) {
                Ok(round) => return round,
                Err(next) => sleep_until(next).await,
            }
        }
    }

    /// The round that a request belongs to, or when the next one may begin.
    fn join(&self, asked: Instant, waiting: usize) -> Result<Instant, Instant> {
        let mut last = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(round) = last.as_mut() {
            if asked <= round.begun {
                round.answered = round.answered.saturating_add(1);
                return Ok(round.begun);
            }
            // Those who were answered may not have asked again yet.
            let next = round.begun + Self::interval(waiting.max(round.answered));
            if now < next {
                return Err(next);
            }
        }
        *last = Some(Round { begun: now, answered: 1 });
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What a hundred followers make the interval.
    const INTERVAL: Duration = Duration::from_millis(50);

    fn hundred() -> usize {
        100
    }

    #[test]
    fn interval_grows_with_the_followers_and_is_bounded() {
        for (followers, milliseconds) in [(0, 5), (1, 5), (10, 5), (100, 50), (500, 250), (1_000_000, 250)] {
            assert_eq!(Pace::interval(followers), Duration::from_millis(milliseconds), "{followers}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn first_request_after_a_pause_does_not_wait() {
        let pace = Pace::default();
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(pace.turn(asked, hundred).await, asked);
            assert_eq!(Instant::now(), asked);
            tokio::time::advance(INTERVAL).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_waited_when_a_round_began_belong_to_it() {
        let pace = Pace::default();
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let round = pace.turn(asked, hundred).await;
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(pace.turn(asked + Duration::from_secs(2), hundred).await, round);
        let next = pace.turn(Instant::now(), hundred).await;
        assert_eq!(next, round + INTERVAL, "what asks within a round waits for the next");
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_a_hundred_followers_of_a_busy_log_is_answered_once_an_interval() {
        let (pace, begun) = (Arc::new(Pace::default()), Instant::now());
        let followers: Vec<_> = (0..100)
            .map(|_| {
                let pace = Arc::clone(&pace);
                tokio::spawn(async move {
                    let mut answers = 0;
                    while begun.elapsed() < Duration::from_secs(10) {
                        pace.turn(Instant::now(), || 0).await;
                        answers += 1;
                        // The way to the follower and back.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    answers
                })
            })
            .collect();
        for follower in followers {
            let answers = follower.await.unwrap();
            assert!((190..=202).contains(&answers), "{answers} answers in 200 intervals");
        }
    }
}
