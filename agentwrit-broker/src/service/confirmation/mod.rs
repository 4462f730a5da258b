//! Confirmation of revocations and of withdrawn keys: whether any enrolled verifier may still accept what was revoked.
//!
//! 1. [`Confirmation`] decides. What it counts from is a time at which the change was committed for certain, and what has
//!    passed since on the monotonic clock.
//! 2. The time is read before the fleet, and the fleet after the commit: an instance whose first report is accepted later
//!    applies the change before it accepts a token.
//! 3. Any broker of the database decides for any cursor, also after a restart: no state belongs to a request that waits.
//! 4. A request waits for reports and for the next fence. Few requests wait at once; any other gets the present state. A
//!    client that hangs up ends its request, and a broker that stops ends all with the present state.
//! 5. The first request that finds a change confirmed records `revocation_confirmed`, once for each cursor at all brokers, and
//!    keeps what it was decided by: the event has the digest. If that fails, the change is confirmed all the same.
//! 6. A change that was pending when a request ended is [watched](watched) until it is confirmed, and recorded then.

mod document;
mod evidence;
mod listed;
mod record;
mod watched;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentwrit_protocol::ConfirmationResponse;
use agentwrit_verify::{
    FeedCursor, Subject, UnixTime,
    confirmation::{Commit, Confirmation, ConfirmationState},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};

use self::{document::Document, listed::limit_listed, record::Recorded, watched::Watched};
use super::{
    Error,
    verifiers::{FleetSnapshot, VerifierService},
};
use crate::{
    feed::{CommitTime, FeedPublisher, UnknownCursor},
    issuer::Issuer,
    ledger::Ledger,
    store::StoreError,
};

/// Largest number of requests that wait for a confirmation.
const MAX_WAITING: usize = 64;
/// Longest pause between two decisions of a request.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a decision, as a multiple of its duration and of the number of requests that wait.
const PAUSE: u32 = 2;

/// Decides whether changes are confirmed, and waits until they are.
#[derive(Debug)]
pub(crate) struct ConfirmationService {
    ledger: Arc<Ledger>,
    feed: FeedPublisher,
    verifiers: Arc<VerifierService>,
    issuer: Arc<Issuer>,
    places: Semaphore,
    waiting: AtomicUsize,
    recorded: Recorded,
    watched: Watched,
    stopping: watch::Receiver<bool>,
}

/// A decision, and what it was made of.
struct Decision {
    response: ConfirmationResponse,
    fleet: Arc<FleetSnapshot>,
    /// Duration until the next instance is fenced.
    next_fence: Option<Duration>,
    decided_at: UnixTime,
}

impl ConfirmationService {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        feed: FeedPublisher,
        verifiers: Arc<VerifierService>,
        issuer: Arc<Issuer>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (places, waiting) = (Semaphore::new(MAX_WAITING), AtomicUsize::new(0));
        let (recorded, watched) = (Recorded::default(), Watched::default());
        Self { ledger, feed, verifiers, issuer, places, waiting, recorded, watched, stopping }
    }

    /// Returns how far what was committed up to `cursor` is confirmed now, and records nothing.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownCursor`], or that of the store.
    pub(crate) async fn state(&self, cursor: &FeedCursor) -> Result<ConfirmationResponse, Error> {
        let commit = self.commit_time(cursor).await?;
        Ok(self.decide(&commit).await?.response)
    }

    /// Returns how far what was committed up to `cursor` is confirmed, waiting up to `wait` for all of it. The confirmation is
    /// recorded in the name of `by`, also if the request ends before.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownCursor`], or that of the store.
    pub(crate) async fn await_confirmation(
        &self,
        cursor: &FeedCursor,
        by: &Subject,
        wait: Duration,
    ) -> Result<ConfirmationResponse, Error> {
        self.await_news(cursor, by, wait, |_| false).await
    }

    /// Does the same as [`await_confirmation`](Self::await_confirmation), and also returns once `is_news` is true.
    ///
    /// # Errors
    ///
    /// As [`await_confirmation`](Self::await_confirmation).
    pub(crate) async fn await_news(
        &self,
        cursor: &FeedCursor,
        by: &Subject,
        wait: Duration,
        is_news: impl Fn(&ConfirmationResponse) -> bool,
    ) -> Result<ConfirmationResponse, Error> {
        // Before anything that may take a while: the client may hang up.
        self.watch(cursor, by);
        let commit = self.commit_time(cursor).await.inspect_err(|error| {
            if matches!(error, Error::UnknownCursor(_)) {
                self.watched.end(cursor);
            }
        })?;
        let place = if wait.is_zero() { None } else { self.place() };
        let until = Instant::now() + if place.is_some() { wait } else { Duration::ZERO };
        // Also without waiting: reports of other brokers arrive sooner while there is a receiver.
        let mut changed = self.verifiers.changed();
        let mut stopping = self.stopping.clone();
        loop {
            changed.borrow_and_update();
            let begun = Instant::now();
            let decision = self.decide(&commit).await?;
            if decision.response.confirmation.state == ConfirmationState::Confirmed {
                self.record_or_log(by, &commit, &decision).await;
                return Ok(decision.response);
            }
            let now = Instant::now();
            if now >= until || *stopping.borrow() || is_news(&decision.response) {
                return Ok(decision.response);
            }
            let next = now + decision.next_fence.map_or(LONGEST_PAUSE, |fence| fence.min(LONGEST_PAUSE));
            let pause = now.saturating_duration_since(begun) * PAUSE * self.waiting();
            tokio::select! {
                _ = async { sleep(pause.min(LONGEST_PAUSE)).await; changed.changed().await } => {}
                () = sleep_until(next.min(until)) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        }
    }

    async fn commit_time(&self, cursor: &FeedCursor) -> Result<CommitTime, Error> {
        if let Ok(time) = self.feed.commit_time(cursor) {
            return Ok(time);
        }
        // Another broker may have committed it a moment ago.
        self.ledger.confirm().await?;
        Ok(self.feed.commit_time(cursor)?)
    }

    /// Decides by the present fleet.
    async fn decide(&self, commit: &CommitTime) -> Result<Decision, Error> {
        let passed = self.ledger.monotonic().saturating_duration_since(commit.since);
        let now = commit.at.saturating_add(passed);
        let fleet = self.verifiers.fleet().await?.at(now);
        let change = Commit { cursor: commit.cursor.clone(), at: commit.at };
        let mut confirmation = Confirmation::of(&change, fleet.as_fleet(commit.at, commit.since), now);
        let fences = confirmation.pending.iter().filter_map(|pending| pending.fenced_at);
        let next_fence = fences.map(|fenced_at| fenced_at.saturating_since(now)).min();
        let unenrolled = unenrolled(commit.followers.max(self.feed.followers()), &confirmation);
        let elapsed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let pending_omitted = limit_listed(&mut confirmation.pending);
        let response = ConfirmationResponse { confirmation, pending_omitted, unenrolled, elapsed_ms };
        Ok(Decision { response, fleet, next_fence, decided_at: now })
    }

    /// Records a confirmation. If that fails it is logged, and tried again: the change is confirmed all the same.
    async fn record_or_log(&self, by: &Subject, commit: &CommitTime, decision: &Decision) {
        match self.record(by, commit, decision).await {
            Ok(()) => self.watched.end(&commit.cursor),
            Err(error) => tracing::error!(
                component = "confirmation",
                %error,
                cursor = %commit.cursor,
                "a confirmation was not recorded; it is tried again"
            ),
        }
    }

    async fn record(&self, by: &Subject, commit: &CommitTime, decision: &Decision) -> Result<(), Error> {
        if self.recorded.contains(&commit.cursor) {
            return Ok(());
        }
        let evidence = evidence::of(commit, decision, self.issuer.name(), &self.verifiers);
        let document = spawn_blocking(move || Document::of(evidence)).await;
        let document = document.map_err(|error| StoreError::Internal { cause: error.to_string() })?;
        let size = self.recorded.once(&self.ledger, by, &commit.cursor, &decision.response, document).await?;
        if let Some(size) = size {
            self.verifiers.metrics().set_evidence_size(size);
        }
        Ok(())
    }

    /// Returns the evidence of a confirmation that was recorded, as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::NoEvidence`], or that of the store.
    pub(crate) async fn evidence(&self, cursor: &FeedCursor) -> Result<Vec<u8>, Error> {
        let cursor = cursor.clone();
        let read = self.ledger.read(move |reader| {
            let document = reader.confirmation_evidence(&cursor)?.ok_or(Error::NoEvidence)?;
            Ok::<_, Error>(Document::decompress(&document)?)
        });
        read.await
    }

    /// Returns a place to wait.
    fn place(&self) -> Option<Place<'_>> {
        let permit = self.places.try_acquire().ok()?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Place { waiting: &self.waiting, _permit: permit })
    }

    /// Number of requests that wait.
    pub(crate) fn waiting(&self) -> u32 {
        u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }
}

/// Place of a request that waits.
struct Place<'s> {
    waiting: &'s AtomicUsize,
    _permit: SemaphorePermit<'s>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<UnknownCursor> for Error {
    fn from(cursor: UnknownCursor) -> Self {
        Self::UnknownCursor(cursor)
    }
}

/// Returns the number of followers that don't report, about: those that waited for news at this broker, less the instances
/// that are known. Followers that read through a mirror or meet another broker are not seen.
fn unenrolled(followers: usize, confirmation: &Confirmation) -> u64 {
    u64::try_from(followers).unwrap_or(u64::MAX).saturating_sub(confirmation.verifiers)
}
