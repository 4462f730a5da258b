//! Rounds in which long polls are answered under a busy log.
//!
//! 1. A round begins with the first request that may be answered, at least an interval after the previous round: after a
//!    pause, a revocation reaches followers at once.
//! 2. A request that waited when a round began is answered in it. A later request waits for the next round, so that each
//!    follower is answered once in a round, with everything that has happened since.
//! 3. The responses of a round can be shared.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The shortest interval between rounds.
const SHORTEST: Duration = Duration::from_millis(5);
/// The longest one: the delay with which a follower may learn of a revocation.
const LONGEST: Duration = Duration::from_millis(250);
/// Share of an interval that each follower costs: 2,000 responses a second in all.
const PER_FOLLOWER: Duration = Duration::from_micros(500);

#[derive(Debug, Default)]
pub(super) struct Rounds {
    latest: Mutex<Option<Round>>,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    begun: Instant,
    /// Number of requests answered in it.
    answered: usize,
}

impl Rounds {
    /// Interval between rounds for a number of followers.
    fn interval(followers: usize) -> Duration {
        PER_FOLLOWER.saturating_mul(u32::try_from(followers).unwrap_or(u32::MAX)).clamp(SHORTEST, LONGEST)
    }

    /// Waits until a request made at `asked` may be answered. Returns the beginning of its round. `waiting` counts the
    /// requests that wait now.
    pub(super) async fn join(&self, asked: Instant, waiting: impl Fn() -> usize) -> Instant {
        loop {
            match self.try_join(asked, waiting()) {
                Ok(round) => return round,
                Err(next) => sleep_until(next).await,
            }
        }
    }

    /// Returns the round that a request belongs to, or else when the next one may begin.
    fn try_join(&self, asked: Instant, waiting: usize) -> Result<Instant, Instant> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(round) = latest.as_mut() {
            if asked <= round.begun {
                round.answered = round.answered.saturating_add(1);
                return Ok(round.begun);
            }
            // Followers answered in the last round may not have sent their next request yet.
            let next = round.begun + Self::interval(waiting.max(round.answered));
            if now < next {
                return Err(next);
            }
        }
        *latest = Some(Round { begun: now, answered: 1 });
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Interval for a hundred followers.
    const INTERVAL: Duration = Duration::from_millis(50);

    fn hundred() -> usize {
        100
    }

    #[test]
    fn interval_grows_with_followers_within_bounds() {
        for (followers, milliseconds) in [(0, 5), (1, 5), (10, 5), (100, 50), (500, 250), (1_000_000, 250)] {
            assert_eq!(Rounds::interval(followers), Duration::from_millis(milliseconds), "{followers}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn first_request_after_pause_does_not_wait() {
        let rounds = Rounds::default();
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(rounds.join(asked, hundred).await, asked);
            assert_eq!(Instant::now(), asked);
            tokio::time::advance(INTERVAL).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_waited_when_round_began_belongs_to_it() {
        let rounds = Rounds::default();
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let round = rounds.join(asked, hundred).await;
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(rounds.join(asked + Duration::from_secs(2), hundred).await, round);
        let next = rounds.join(Instant::now(), hundred).await;
        assert_eq!(next, round + INTERVAL, "a request made within a round waits for the next");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_each_of_a_hundred_followers_once_an_interval() {
        let (rounds, begun) = (Arc::new(Rounds::default()), Instant::now());
        let followers: Vec<_> = (0..100)
            .map(|_| {
                let rounds = Arc::clone(&rounds);
                tokio::spawn(async move {
                    let mut responses = 0;
                    while begun.elapsed() < Duration::from_secs(10) {
                        rounds.join(Instant::now(), || 0).await;
                        responses += 1;
                        // Round trip to the follower.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    responses
                })
            })
            .collect();
        for follower in followers {
            let responses = follower.await.unwrap();
            assert!((190..=202).contains(&responses), "{responses} responses in 200 intervals");
        }
    }
}
