//! The revocation feed: what resource servers follow.
//!
//! 1. Every answer is a compact JWS of its own type, signed by the active key, with the moment at which it was true.
//!    That moment is read before the state, so that an answer never claims to be fresher than it is.
//! 2. A follower that is behind gets what came after its cursor, a page at a time. A page that does not reach the end of
//!    the log is as old as the entry behind it: while a follower catches up it does not pass for fresh.
//!    Where the clock was set back since, the age of a page is not known: a snapshot takes its place.
//! 3. The recent part of the log is kept in memory, and pages of it cost no query. Older pages come from the store. They
//!    begin and end at fixed places, so that followers share them, and are read one at a time: unauthenticated clients
//!    who ask for old cursors cost one reader and delay no follower that keeps up.
//! 4. A cursor that the log does not reach, or none, gets a snapshot (`from` 0). One is built at a time, for at most half
//!    of the time, and shared by all requests made before it was begun. While the log ends where the snapshot does and no
//!    entry of it has expired, it is also shared by requests of the next [`REUSE`]: its `iat` says how old it is. It is
//!    written row by row, so that it is in memory once, and has a [place](crate::limits::document) of its own among the
//!    large responses.
//! 5. `wait` holds the answer until there is something newer. A waiting request costs its connection, a timer and a place
//!    among the long polls; one that is displaced by another address is answered at once. Under a busy log waiting requests
//!    are answered in [rounds](pace).
//! 6. Entries are left out as soon as they have expired.

mod document;
mod entry;
mod pace;
mod tail;

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentwrit_verify::{Clock, RevocationList};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::{Instant, timeout},
};

pub(crate) use self::{document::Answer, entry::Entry};
use self::{
    document::{OLDER_PAGE, Span},
    pace::Pace,
    tail::{Newer, RECENT, Tail},
};
use crate::{
    domain::Revocation,
    issuer::Issuer,
    limits::{
        pools::Pools,
        single_flight::{Begun, SingleFlight},
    },
    store::{Store, StoreError, Tx},
};

/// How many entries a page of the recent log holds at most.
const PAGE: usize = 1024;
/// How many answers are kept for those who ask the same.
const SHARED_ANSWERS: usize = 16;
/// How many older pages are kept.
const SHARED_PAGES: usize = 8;
/// Time for which a response read from the store is reused. Its `iat` gets older meanwhile, by less than what the shortest
/// sensible bound on staleness (6 s, with a leeway of 1 s) leaves a follower that then waits for news.
const REUSE: Duration = Duration::from_secs(2);
/// Pause after a snapshot was built, as a multiple of how long that took.
const PAUSE: u32 = 1;

/// The end of the log, and answers that can be shared.
#[derive(Debug)]
pub(crate) struct Feed {
    issuer: String,
    latest: watch::Sender<u64>,
    tail: Mutex<Tail>,
    pace: Pace,
    deltas: Mutex<VecDeque<Shared>>,
    pages: Arc<AsyncMutex<VecDeque<Arc<Answer>>>>,
    snapshots: SingleFlight<Arc<Answer>>,
}

/// An answer from memory, and when it was made.
#[derive(Debug)]
struct Shared {
    made: Instant,
    answer: Arc<Answer>,
}

impl Feed {
    /// A feed of the log that ends at `latest`, with the last of the entries in force.
    pub(crate) fn new(issuer: &str, latest: u64, recent: RecentEntries) -> Self {
        let mut tail = Tail::new(latest);
        for (cursor, entry) in recent.0 {
            tail.push(cursor, entry);
        }
        Self {
            issuer: issuer.to_owned(),
            latest: watch::Sender::new(latest),
            tail: Mutex::new(tail),
            pace: Pace::default(),
            deltas: Mutex::default(),
            pages: Arc::default(),
            snapshots: SingleFlight::new(PAUSE),
        }
    }

    /// Takes over a durable entry, and tells those who wait.
    pub(crate) fn announce(&self, cursor: u64, entry: &Revocation) {
        let entry = Entry::of(&self.issuer, entry);
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).push(cursor, entry);
        self.latest.send_replace(cursor);
    }

    /// How many requests wait for news.
    pub(crate) fn followers(&self) -> usize {
        self.latest.receiver_count()
    }

    fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    fn after(&self, from: u64) -> Newer {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).after(from, PAGE)
    }

    fn last(&self) -> Option<Entry> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).last()
    }

    /// Whether one answer brings a follower at `from` to the end of the log.
    fn keeps_up(&self, from: u64) -> bool {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).is_within(from, PAGE)
    }

    fn shared(&self, fits: impl Fn(&Shared) -> bool) -> Option<Arc<Answer>> {
        let deltas = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        deltas
            .iter()
            .find(|shared| shared.answer.document.is_held() && fits(shared))
            .map(|shared| Arc::clone(&shared.answer))
    }

    fn share(&self, made: Instant, answer: &Arc<Answer>) {
        let mut deltas = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        deltas.push_front(Shared { made, answer: Arc::clone(answer) });
        deltas.truncate(SHARED_ANSWERS);
    }
}

/// The last entries of a log, gathered while it is read. One more than are kept: what was dropped is known then.
#[derive(Debug, Default)]
pub(crate) struct RecentEntries(VecDeque<(u64, Entry)>);

impl RecentEntries {
    pub(crate) fn push(&mut self, cursor: u64, entry: Entry) {
        self.0.push_back((cursor, entry));
        if self.0.len() > RECENT.saturating_add(1) {
            self.0.pop_front();
        }
    }
}

/// Carries revocations from their transactions to this broker's verifier and to followers.
#[derive(Clone, Debug)]
pub(crate) struct FeedPublisher {
    feed: Arc<Feed>,
    /// Identifies the revocation log.
    epoch: String,
    revocations: RevocationList,
    issuer: Arc<Issuer>,
    store: Store,
    clock: Arc<dyn Clock>,
    pools: Arc<Pools>,
    stopping: watch::Receiver<bool>,
}

/// The parts that a [`FeedPublisher`] shares with others.
#[derive(Debug)]
pub(crate) struct FeedParts {
    pub(crate) revocations: RevocationList,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pools: Arc<Pools>,
    /// Turns true when the broker stops: waiting requests end then.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Why the feed has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FeedUnavailable {
    /// No place among waiting requests or large responses.
    #[error("too much is waiting")]
    Overloaded,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FeedPublisher {
    pub(crate) fn new(feed: Feed, epoch: String, parts: FeedParts) -> Self {
        let FeedParts { revocations, issuer, store, clock, pools, stopping } = parts;
        Self { feed: Arc::new(feed), epoch, revocations, issuer, store, clock, pools, stopping }
    }

    /// Writes an entry of the revocation log. Once it is durable, this broker's verifier and the followers receive it.
    pub(crate) fn publish(&self, tx: &mut Tx<'_>, revocation: Revocation) -> Result<(), StoreError> {
        let cursor = tx.insert_revocation(&revocation)?;
        let (list, feed) = (self.revocations.clone(), Arc::clone(&self.feed));
        tx.after_commit(move || {
            list.insert(revocation.level, &revocation.target, revocation.revoked_at, revocation.expires_at);
            feed.announce(cursor, &revocation);
        });
        Ok(())
    }

    /// Number of requests that wait for news.
    #[cfg(test)]
    pub(crate) fn followers(&self) -> usize {
        self.feed.followers()
    }

    /// What came after `since`, waiting up to `wait` for it; a snapshot without `since`.
    pub(crate) async fn since(
        &self,
        since: Option<u64>,
        wait: Duration,
        client: IpAddr,
    ) -> Result<Arc<Answer>, FeedUnavailable> {
        let round = match since {
            // Also at 0: followers of a log that is still empty must not poll busily.
            Some(from) if !wait.is_zero() => self.wait_for_news(from, wait, client).await?,
            Some(_) | None => None,
        };
        match since {
            Some(from) if from > 0 => self.delta(from, round, client).await,
            Some(_) | None => self.snapshot().await,
        }
    }

    /// Waits until something newer than `from` is to be told; the beginning of the round in which it is.
    async fn wait_for_news(
        &self,
        from: u64,
        wait: Duration,
        client: IpAddr,
    ) -> Result<Option<Instant>, FeedUnavailable> {
        let asked = Instant::now();
        let mut latest = self.feed.latest.subscribe();
        let known = *latest.borrow_and_update();
        if from == known {
            let place = self.pools.long_poll(client).ok_or(FeedUnavailable::Overloaded)?;
            // Either way there is an answer: something newer, or the same state at a later moment.
            let mut stopping = self.stopping.clone();
            let newer = async {
                tokio::select! {
                    _ = latest.changed() => true,
                    _ = stopping.wait_for(|stop| *stop) => false,
                    () = place.displaced() => false,
                }
            };
            if !timeout(wait, newer).await.unwrap_or(false) {
                return Ok(None);
            }
        }
        if from > known || !self.feed.keeps_up(from) {
            return Ok(None);
        }
        Ok(Some(self.feed.pace.turn(asked, || self.feed.followers()).await))
    }

    async fn delta(&self, from: u64, round: Option<Instant>, client: IpAddr) -> Result<Arc<Answer>, FeedUnavailable> {
        // What was made in the round of this request has everything that the request waited for.
        let of_round =
            |shared: &Shared| round.is_some_and(|round| shared.made >= round) && shared.answer.span.from == from;
        if let Some(answer) = self.feed.shared(of_round).filter(|answer| self.share(answer, client)) {
            return Ok(answer);
        }
        let (made, now) = (Instant::now(), self.clock.now());
        let (entries, span) = match self.feed.after(from) {
            Newer::All { entries, to } => (entries, Span { from, to, at: now.seconds() }),
            Newer::Part { entries, to, next, last } => match document::end_of_log_before(&next, &last, now) {
                Some(at) => (entries, Span { from, to, at: at.seconds() }),
                None => return self.snapshot().await,
            },
            Newer::Older => {
                return match self.older_page(from, client).await? {
                    Some(page) => Ok(page),
                    None => self.snapshot().await,
                };
            }
            Newer::Beyond => return self.snapshot().await,
        };
        let until = document::valid_until(now);
        let same = |shared: &Shared| shared.answer.span == span && shared.answer.until == until;
        if let Some(answer) = self.feed.shared(same).filter(|answer| self.share(answer, client)) {
            return Ok(answer);
        }
        let answer = self.place(self.answer(span, &entries, now), client)?;
        self.feed.share(made, &answer);
        Ok(answer)
    }

    /// The page of the store that `from` lies in; none when its age is not known.
    async fn older_page(&self, from: u64, client: IpAddr) -> Result<Option<Arc<Answer>>, FeedUnavailable> {
        // From 0 would be a snapshot.
        let start = (from - from % OLDER_PAGE).max(1);
        let mut pages = Arc::clone(&self.feed.pages).lock_owned().await;
        let now = self.clock.now();
        let is_usable =
            |page: &&Arc<Answer>| page.span.from == start && page.is_reusable(now) && self.share(page, client);
        if let Some(page) = pages.iter().find(is_usable) {
            return Ok(Some(Arc::clone(page)));
        }
        // To its end also if the client hangs up: those behind it may be waiting for the same.
        let publisher = self.clone();
        let reading = tokio::spawn(async move {
            let Some(page) = publisher.read_page(start).await? else { return Ok(None) };
            let page = publisher.place(page, client)?;
            pages.push_front(Arc::clone(&page));
            pages.truncate(SHARED_PAGES);
            Ok(Some(page))
        });
        reading.await.unwrap_or(Err(FeedUnavailable::Overloaded))
    }

    async fn snapshot(&self) -> Result<Arc<Answer>, FeedUnavailable> {
        let is_usable = |answer: &Arc<Answer>, begun| {
            let is_current = answer.span.to == self.feed.latest() && answer.is_reusable(self.clock.now());
            (begun == Begun::AfterRequest || is_current) && answer.document.is_held()
        };
        let publisher = self.clone();
        let build = move || async move { publisher.place_snapshot(publisher.read_snapshot().await?) };
        self.feed.snapshots.run(is_usable, build).await.unwrap_or(Err(FeedUnavailable::Overloaded))
    }
}
