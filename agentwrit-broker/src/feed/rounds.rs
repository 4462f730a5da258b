//! Rounds in which long polls are answered under a busy log.
//!
//! 1. A round begins with the first request that may be answered, at least an interval after the previous round: after a
//!    pause, a revocation reaches followers at once.
//! 2. A request that waited when a round began is answered in it. A later request waits for the next round, so that each
//!    follower is answered once in a round, with everything that has happened since.
//! 3. The responses of a round can be shared.
//! 4. Urgent changes wait for less: revocations that an operator or an app requested, and changes of the keys. Agents that
//!    renew and release their tokens make the other changes, as often as they like.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Interval between rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    shortest: Duration,
    /// Share of an interval that each follower costs.
    per_follower: Duration,
}

impl Pace {
    /// 2,000 responses a second in all.
    const ROUTINE: Self = Self { shortest: Duration::from_millis(5), per_follower: Duration::from_micros(500) };
    /// 10,000 responses a second: half a core.
    const URGENT: Self = Self { shortest: Duration::from_millis(1), per_follower: Duration::from_micros(100) };
    /// The longest interval: the delay with which a follower may learn of a revocation.
    const LONGEST: Duration = Duration::from_millis(250);

    /// Interval for a number of followers.
    fn interval(self, followers: usize) -> Duration {
        let share = self.per_follower.saturating_mul(u32::try_from(followers).unwrap_or(u32::MAX));
        share.clamp(self.shortest, Self::LONGEST)
    }
}

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
    /// Waits until a request made at `asked` may be answered with what is newer than `from`. Returns the beginning of its
    /// round. `waiting` counts the requests that wait now; `urgent` is the cursor of the latest urgent change.
    pub(super) async fn join(
        &self,
        asked: Instant,
        from: u64,
        waiting: impl Fn() -> usize,
        urgent: &mut watch::Receiver<u64>,
    ) -> Instant {
        loop {
            let pace = if *urgent.borrow_and_update() > from { Pace::URGENT } else { Pace::ROUTINE };
            match self.try_join(asked, waiting(), pace) {
                Ok(round) => return round,
                Err(next) => tokio::select! {
                    () = sleep_until(next) => {}
                    // Fails when the memory of the log is dropped, and with it this request.
                    Ok(()) = urgent.changed() => {}
                },
            }
        }
    }

    /// Returns the round that a request belongs to, or else when the next one may begin.
    fn try_join(&self, asked: Instant, waiting: usize, pace: Pace) -> Result<Instant, Instant> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(round) = latest.as_mut() {
            if asked <= round.begun {
                round.answered = round.answered.saturating_add(1);
                return Ok(round.begun);
            }
            // Followers answered in the last round may not have sent their next request yet.
            let next = round.begun + pace.interval(waiting.max(round.answered));
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

    impl Rounds {
        /// Joins for a routine change.
        async fn join_routine(&self, asked: Instant, waiting: impl Fn() -> usize) -> Instant {
            let (_sender, mut urgent) = watch::channel(0);
            self.join(asked, 1, waiting, &mut urgent).await
        }
    }

    #[test]
    fn interval_grows_with_followers_within_bounds() {
        for (followers, milliseconds) in [(0, 5), (1, 5), (10, 5), (100, 50), (500, 250), (1_000_000, 250)] {
            assert_eq!(Pace::ROUTINE.interval(followers), Duration::from_millis(milliseconds), "{followers}");
        }
        for (followers, milliseconds) in [(0, 1), (10, 1), (200, 20), (2500, 250), (1_000_000, 250)] {
            assert_eq!(Pace::URGENT.interval(followers), Duration::from_millis(milliseconds), "{followers}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn first_request_after_pause_does_not_wait() {
        let rounds = Rounds::default();
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(rounds.join_routine(asked, hundred).await, asked);
            assert_eq!(Instant::now(), asked);
            tokio::time::advance(INTERVAL).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_waited_when_round_began_belongs_to_it() {
        let rounds = Rounds::default();
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let round = rounds.join_routine(asked, hundred).await;
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(rounds.join_routine(asked + Duration::from_secs(2), hundred).await, round);
        let next = rounds.join_routine(Instant::now(), hundred).await;
        assert_eq!(next, round + INTERVAL, "a request made within a round waits for the next");
    }

    #[tokio::test(start_paused = true)]
    async fn urgent_change_is_answered_earlier_also_for_request_that_waits_for_routine_round() {
        let (rounds, (sender, mut urgent)) = (Rounds::default(), watch::channel(0));
        let round = rounds.join_routine(Instant::now(), hundred).await;
        tokio::time::advance(Duration::from_millis(1)).await;
        let asked = Instant::now();
        let join = rounds.join(asked, 7, hundred, &mut urgent);
        let revoke = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            sender.send_replace(7);
            tokio::time::sleep(Duration::from_millis(20)).await;
            sender.send_replace(8);
        };
        let (joined, ()) = tokio::join!(join, revoke);
        assert_eq!(joined - round, Duration::from_millis(26), "cursor 7 is known already");
        tokio::time::advance(Duration::from_millis(1)).await;
        let next = rounds.join(Instant::now(), 7, hundred, &mut urgent).await;
        assert_eq!(next - joined, Pace::URGENT.interval(100), "urgent changes have intervals too");
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
                        rounds.join_routine(Instant::now(), || 0).await;
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
