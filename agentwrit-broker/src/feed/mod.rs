//! The revocation feed, which resource servers follow.
//!
//! 1. Every response is a compact JWS of its own type, signed by the active key, with the time at which it was true. That
//!    time is read before the state, so that no response claims to be fresher than it is.
//! 2. A follower that is behind gets the entries after its cursor, a page at a time. A page that does not reach the end of
//!    the log is as old as the entry behind it: a follower that catches up does not count as fresh. Where the clock was set
//!    back since, the age of a page is not known, and a snapshot takes its place.
//! 3. The recent part of the log is kept in memory, and pages of it cost no query. Older pages come from the store. They
//!    begin and end at fixed cursors, so that followers share them, and are read one at a time: unauthenticated clients
//!    that request old cursors cost one reader and delay no follower that keeps up.
//! 4. A cursor that the log does not reach, or none, gets a snapshot (`from` 0). One is built at a time, for at most half
//!    of the time, and shared by all requests made before it was begun. While the log ends where the snapshot does and no
//!    entry of it has expired, requests of the next [`REUSE`] share it too: its `iat` states its age. It is written row by
//!    row, so that it is in memory once, and has a [place](crate::limits::document) of its own among the large responses.
//!    While clients read it and there is no room for another, later requests get it too, until its `exp`: they
//!    continue from its `to`. Otherwise requests for snapshots would end each other's downloads.
//! 5. `wait` delays the response until there is something newer. A waiting request costs its connection, a timer and a place
//!    among the long polls; one that another address displaces is answered at once. Under a busy log waiting requests are
//!    answered in [rounds](rounds).
//! 6. Entries are left out as soon as they have expired.

mod entry;
mod response;
mod rounds;
mod tail;

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentwrit_verify::{Clock, RevocationList, feed::FeedEntry};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::{Instant, timeout},
};

use self::{
    entry::entry_of,
    response::{OLDER_PAGE, Span},
    rounds::Rounds,
    tail::{Newer, RECENT, Tail},
};
pub(crate) use self::{entry::entry_of_row, response::FeedResponse};
use crate::{
    domain::Revocation,
    issuer::Issuer,
    limits::{
        pools::Pools,
        single_flight::{Begun, SingleFlight},
    },
    store::{Store, StoreError, Tx},
};

/// Largest number of entries in a page of the recent log.
const PAGE: usize = 1024;
/// Number of responses from memory that are kept for requests with the same cursor.
const SHARED_DELTAS: usize = 16;
/// Number of older pages that are kept.
const SHARED_PAGES: usize = 8;
/// Time for which a response read from the store is reused. Its `iat` gets older meanwhile, by less than what the shortest
/// sensible bound on staleness (6 s, with a leeway of 1 s) leaves a follower that then waits for news.
const REUSE: Duration = Duration::from_secs(2);
/// Pause after a snapshot was built, as a multiple of how long that took.
const PAUSE: u32 = 1;

/// The end of the log, and responses that requests share.
#[derive(Debug)]
pub(crate) struct Feed {
    issuer: String,
    latest: watch::Sender<u64>,
    tail: Mutex<Tail>,
    rounds: Rounds,
    deltas: Mutex<VecDeque<Shared>>,
    pages: Arc<AsyncMutex<VecDeque<Arc<FeedResponse>>>>,
    snapshots: SingleFlight<Arc<FeedResponse>>,
}

/// A response from memory, and when it was made.
#[derive(Debug)]
struct Shared {
    made: Instant,
    response: Arc<FeedResponse>,
}

/// Least that the response to a long poll must contain.
#[derive(Clone, Copy, Debug)]
struct News {
    /// Beginning of the round in which the request is answered.
    round: Instant,
    /// End of the log when the request was woken. A response of the round may have been made before.
    latest: u64,
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
            rounds: Rounds::default(),
            deltas: Mutex::default(),
            pages: Arc::default(),
            snapshots: SingleFlight::new(PAUSE),
        }
    }

    /// Appends a durable entry, and wakes the waiting requests.
    pub(crate) fn announce(&self, cursor: u64, revocation: &Revocation) {
        let entry = entry_of(&self.issuer, revocation);
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).push(cursor, entry);
        self.latest.send_replace(cursor);
    }

    /// Number of requests that wait for news.
    pub(crate) fn followers(&self) -> usize {
        self.latest.receiver_count()
    }

    fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    fn after(&self, from: u64) -> Newer {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).after(from, PAGE)
    }

    fn last(&self) -> Option<FeedEntry> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).last()
    }

    /// Returns whether one response brings a follower at `from` to the end of the log.
    fn keeps_up(&self, from: u64) -> bool {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).is_within(from, PAGE)
    }

    fn shared(&self, fits: impl Fn(&Shared) -> bool) -> Option<Arc<FeedResponse>> {
        let deltas = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        deltas
            .iter()
            .find(|shared| shared.response.document.is_held() && fits(shared))
            .map(|shared| Arc::clone(&shared.response))
    }

    fn share(&self, made: Instant, response: &Arc<FeedResponse>) {
        let mut deltas = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        deltas.push_front(Shared { made, response: Arc::clone(response) });
        deltas.truncate(SHARED_DELTAS);
    }
}

/// The last entries of a log, gathered while it is read: one more than the feed keeps, so that it knows where they begin.
#[derive(Debug, Default)]
pub(crate) struct RecentEntries(VecDeque<(u64, FeedEntry)>);

impl RecentEntries {
    pub(crate) fn push(&mut self, cursor: u64, entry: FeedEntry) {
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

/// Reason why the feed has no response.
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
    pub(crate) fn publish(&self, tx: &mut dyn Tx, revocation: Revocation) -> Result<(), StoreError> {
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

    /// Returns the entries after `since`, waiting up to `wait` for them; a snapshot without `since`.
    pub(crate) async fn since(
        &self,
        since: Option<u64>,
        wait: Duration,
        client: IpAddr,
    ) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        let news = match since {
            // Also at 0: followers of an empty log must not poll busily.
            Some(from) if !wait.is_zero() => self.wait_for_news(from, wait, client).await?,
            Some(_) | None => None,
        };
        match since {
            Some(from) if from > 0 => self.delta(from, news, client).await,
            Some(_) | None => self.snapshot(None).await,
        }
    }

    /// Waits for entries after `from`. Returns the news that the response must contain.
    async fn wait_for_news(&self, from: u64, wait: Duration, client: IpAddr) -> Result<Option<News>, FeedUnavailable> {
        let asked = Instant::now();
        let mut latest = self.feed.latest.subscribe();
        let mut known = *latest.borrow_and_update();
        if from == known {
            let place = self.pools.long_poll(client).ok_or(FeedUnavailable::Overloaded)?;
            // Either way there is a response: newer entries, or the same state at a later time.
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
            known = *latest.borrow_and_update();
        }
        if from > known || !self.feed.keeps_up(from) {
            return Ok(None);
        }
        let round = self.feed.rounds.join(asked, || self.feed.followers()).await;
        Ok(Some(News { round, latest: known }))
    }

    async fn delta(&self, from: u64, news: Option<News>, client: IpAddr) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        let of_round = |shared: &Shared| {
            let span = shared.response.span;
            span.from == from && news.is_some_and(|news| shared.made >= news.round && span.to >= news.latest)
        };
        if let Some(response) = self.feed.shared(of_round).filter(|response| self.share(response, client)) {
            return Ok(response);
        }
        let (made, now) = (Instant::now(), self.clock.now());
        let (entries, span) = match self.feed.after(from) {
            Newer::All { entries, to } => (entries, Span { from, to, at: now.seconds() }),
            Newer::Part { entries, to, next, last } => match response::end_of_log_before(&next, &last, now) {
                Some(at) => (entries, Span { from, to, at: at.seconds() }),
                None => return self.snapshot(Some(from)).await,
            },
            Newer::Older => {
                return match self.older_page(from, client).await? {
                    Some(page) => Ok(page),
                    None => self.snapshot(Some(from)).await,
                };
            }
            Newer::Beyond => return self.snapshot(None).await,
        };
        let expiry = response::expiry(now);
        let same = |shared: &Shared| shared.response.span == span && shared.response.expires_at == expiry;
        if let Some(response) = self.feed.shared(same).filter(|response| self.share(response, client)) {
            return Ok(response);
        }
        let response = self.place(self.sign(span, &entries, now), client)?;
        self.feed.share(made, &response);
        Ok(response)
    }

    /// Returns the page of the store that `from` lies in; `None` when its age is not known.
    async fn older_page(&self, from: u64, client: IpAddr) -> Result<Option<Arc<FeedResponse>>, FeedUnavailable> {
        // From 0 would be a snapshot.
        let start = (from - from % OLDER_PAGE).max(1);
        let mut pages = Arc::clone(&self.feed.pages).lock_owned().await;
        let now = self.clock.now();
        let is_usable =
            |page: &&Arc<FeedResponse>| page.span.from == start && page.is_reusable(now) && self.share(page, client);
        if let Some(page) = pages.iter().find(is_usable) {
            return Ok(Some(Arc::clone(page)));
        }
        // A task of its own, which goes on if the client hangs up: other requests may wait for the same page.
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

    /// Returns a snapshot, for a follower whose cursor `after` could not be served, or that has none.
    async fn snapshot(&self, after: Option<u64>) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        let is_usable = |response: &Arc<FeedResponse>, begun| {
            let is_current = response.span.to == self.feed.latest() && response.is_reusable(self.clock.now());
            ((begun == Begun::AfterRequest || is_current) && response.document.is_held())
                || self.stands_in(response, after)
        };
        let publisher = self.clone();
        let build = move |previous| async move { publisher.build_snapshot(previous, after).await };
        self.feed.snapshots.run(is_usable, build).await.unwrap_or(Err(FeedUnavailable::Overloaded))
    }
}
