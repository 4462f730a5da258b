//! The revocation feed, which resource servers follow.
//!
//! 1. Every response is a compact JWS of its own type, signed by the active key, with the time at which it was true. That
//!    time is read before the state, so that no response claims to be fresher than it is. With several brokers both are
//!    read from the database, after the request arrived: a follower that meets another broker at each request never gets
//!    an older time.
//! 2. A follower that is behind gets the entries after its cursor, a page at a time. A page that does not reach the end of
//!    the log is as old as the entry behind it: a follower that catches up does not count as fresh. Where the clock was set
//!    back since, the age of a page is not known, and a snapshot takes its place.
//! 3. The recent part of the log is kept in memory, and pages of it cost no query. Older pages come from the store. They
//!    begin and end at fixed cursors, so that followers share them, and are read one at a time: unauthenticated clients
//!    that request old cursors cost one reader and delay no follower that keeps up.
//! 4. A cursor that the log does not reach, or none, gets a snapshot (`from` 0). One is built at a time, for at most half
//!    of the time, and shared by all requests made before it was begun. While the log ends where the snapshot does and no
//!    entry of it has expired, requests of the next [`REUSE`] share it too, unless there are several brokers: its `iat`
//!    states its age. It is written row by
//!    row, so that it is in memory once, and has a [place](crate::limits::document) of its own among the large responses.
//!    While clients read it and there is no room for another, later requests get it too, until its `exp`: they
//!    continue from its `to`. Otherwise requests for snapshots would end each other's downloads. With several brokers they
//!    are rejected instead: another broker may have sent the follower a later `iat`.
//! 5. `wait` delays the response until there is something newer. A waiting request costs its connection, a timer and a place
//!    among the long polls; one that another address displaces is answered at once. Under a busy log waiting requests are
//!    answered in [rounds](rounds).
//! 6. Entries are left out as soon as they have expired.
//! 7. Every response announces the published keys. A change of them takes a cursor of the log, without an entry, so that
//!    waiting requests are answered at once. No response that was signed before the change is given to a request after it.

mod commit_times;
mod entry;
mod key_changes;
mod log_memory;
mod mirror;
mod response;
mod rounds;
mod tail;

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentwrit_verify::{Clock, FeedCursor, UnixTime};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::{Instant, timeout},
};

pub(crate) use self::{
    commit_times::{CommitTime, UnknownCursor},
    key_changes::KeyChangeError,
    log_memory::{LogMemory, LogReader},
    mirror::BrokerMemory,
    response::FeedResponse,
};
use self::{
    response::{OLDER_PAGE, Span},
    rounds::Rounds,
    tail::Newer,
};
use crate::{
    domain::Revocation,
    issuer::{Issuer, KeyRing},
    limits::{
        pools::Pools,
        single_flight::{Begun, SingleFlight},
    },
    store::{LogEnd, Store, StoreError, Tx},
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
struct Feed {
    memory: LogMemory,
    rounds: Rounds,
    /// The latest responses from memory.
    deltas: Mutex<VecDeque<Arc<FeedResponse>>>,
    pages: Arc<AsyncMutex<VecDeque<Arc<FeedResponse>>>>,
    snapshots: SingleFlight<Arc<FeedResponse>>,
}

/// Least that the response to a long poll must contain.
#[derive(Clone, Debug)]
struct News {
    /// Beginning of the round in which the request is answered.
    round: Instant,
    /// End of the log when the request was woken. A response of the round may have been made before.
    latest: LogEnd,
}

impl News {
    /// Returns whether a response was made in the round, and contains the news.
    fn is_in(&self, response: &FeedResponse) -> bool {
        let span = &response.span;
        response.begun >= self.round && span.epoch == self.latest.epoch && span.to >= self.latest.cursor
    }
}

/// When a response was begun, and the time of the state that it was made of.
#[derive(Clone, Copy, Debug)]
struct Moment {
    begun: Instant,
    at: UnixTime,
}

impl Feed {
    fn new(memory: LogMemory) -> Self {
        Self {
            memory,
            rounds: Rounds::default(),
            deltas: Mutex::default(),
            pages: Arc::default(),
            snapshots: SingleFlight::new(PAUSE),
        }
    }

    fn shared(&self, ring: &Arc<KeyRing>, fits: impl Fn(&FeedResponse) -> bool) -> Option<Arc<FeedResponse>> {
        let deltas = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        let is_usable = |response: &&Arc<FeedResponse>| response.document.is_held() && response.is_signed_by(ring);
        deltas.iter().filter(is_usable).find(|response| fits(response)).map(Arc::clone)
    }

    fn add_shared(&self, response: &Arc<FeedResponse>) {
        let mut deltas = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        deltas.push_front(Arc::clone(response));
        deltas.truncate(SHARED_DELTAS);
    }
}

/// Carries revocations from their transactions to this broker's verifier and to followers.
#[derive(Clone, Debug)]
pub(crate) struct FeedPublisher {
    feed: Arc<Feed>,
    issuer: Arc<Issuer>,
    store: Store,
    clock: Arc<dyn Clock>,
    pools: Arc<Pools>,
    stopping: watch::Receiver<bool>,
}

/// The parts that a [`FeedPublisher`] shares with others.
#[derive(Debug)]
pub(crate) struct FeedParts {
    pub(crate) memory: LogMemory,
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
    pub(crate) fn new(parts: FeedParts) -> Self {
        let FeedParts { memory, issuer, store, clock, pools, stopping } = parts;
        Self { feed: Arc::new(Feed::new(memory)), issuer, store, clock, pools, stopping }
    }

    /// Writes an entry of the revocation log. Once it is durable, this broker's verifier and the followers receive it.
    pub(crate) fn publish(&self, tx: &mut Tx<'_>, revocation: Revocation) -> Result<(), StoreError> {
        let cursor = tx.insert_revocation(&revocation)?;
        let memory = self.feed.memory.clone();
        let LogEnd { epoch, .. } = memory.end();
        tx.after_commit(move || memory.add(&epoch, cursor, &revocation));
        Ok(())
    }

    /// Returns the time from which `cursor` is known to be committed, and the number of followers that waited then.
    pub(crate) fn commit_time(&self, cursor: &FeedCursor) -> Result<CommitTime, UnknownCursor> {
        self.feed.memory.commit_time(cursor)
    }

    /// Returns the end of the log that memory holds.
    pub(crate) fn end(&self) -> LogEnd {
        self.feed.memory.end()
    }

    /// Number of requests that wait for news.
    pub(crate) fn followers(&self) -> usize {
        self.feed.memory.subscribers()
    }

    /// Returns the entries after `since`, waiting up to `wait` for them; a snapshot without `since`.
    pub(crate) async fn since(
        &self,
        since: Option<u64>,
        wait: Duration,
        client: IpAddr,
    ) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        let asked = Instant::now();
        let news = match since {
            // Also at 0: followers of an empty log must not poll busily.
            Some(from) if !wait.is_zero() => self.wait_for_news(from, asked, wait, client).await?,
            Some(_) | None => None,
        };
        match since {
            Some(from) if from > 0 => self.delta(from, asked, news, client).await,
            Some(_) | None => self.snapshot(None).await,
        }
    }

    /// Brings memory up to date with all brokers. Returns the moment at which it was.
    async fn confirm(&self) -> Result<Moment, StoreError> {
        let begun = Instant::now();
        Ok(Moment { begun, at: self.store.confirm_in_order().await?.at })
    }

    /// Waits for entries after `from`. Returns the news that the response must contain.
    async fn wait_for_news(
        &self,
        from: u64,
        asked: Instant,
        wait: Duration,
        client: IpAddr,
    ) -> Result<Option<News>, FeedUnavailable> {
        let mut latest = self.feed.memory.subscribe();
        if from > latest.borrow_and_update().cursor {
            // Another broker may have told the follower what this one has not read yet.
            self.confirm().await?;
        }
        let mut known = latest.borrow_and_update().clone();
        if from == known.cursor {
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
            known = latest.borrow_and_update().clone();
        }
        if from > known.cursor || !self.feed.memory.is_within(from, PAGE) {
            return Ok(None);
        }
        let mut urgent = self.feed.memory.urgent();
        let round = self.feed.rounds.join(asked, from, || self.feed.memory.subscribers(), &mut urgent).await;
        Ok(Some(News { round, latest: known }))
    }

    async fn delta(
        &self,
        from: u64,
        asked: Instant,
        news: Option<News>,
        client: IpAddr,
    ) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        let of_round = |response: &FeedResponse| {
            response.span.from == from && news.as_ref().is_some_and(|news| news.is_in(response))
        };
        if let Some(response) =
            self.feed.shared(&self.issuer.ring(), of_round).filter(|response| self.share(response, client))
        {
            return Ok(response);
        }
        let now = self.confirm().await?;
        let (epoch, newer) = self.feed.memory.after(from, PAGE);
        let (entries, to, at) = match newer {
            Newer::All { entries, to } => (entries, to, now.at),
            Newer::Part { entries, to, next, last } => match response::end_of_log_before(&next, &last, now.at) {
                Some(at) => (entries, to, at),
                None => return self.snapshot(Some(from)).await,
            },
            Newer::Older => {
                return match self.older_page(from, asked, client).await? {
                    Some(page) => Ok(page),
                    None => self.snapshot(Some(from)).await,
                };
            }
            Newer::Beyond => return self.snapshot(None).await,
        };
        let (span, expiry) = (Span { epoch, from, to, at: at.seconds() }, response::expiry(now.at));
        let same = |response: &FeedResponse| response.span == span && response.expires_at == expiry;
        // After the end of the log was read: keys are replaced before it moves.
        let ring = self.issuer.ring();
        if let Some(response) = self.feed.shared(&ring, same).filter(|response| self.share(response, client)) {
            return Ok(response);
        }
        let response = self.place(self.sign(ring, span, &entries, now), client)?;
        self.feed.add_shared(&response);
        Ok(response)
    }

    /// Returns the page of the store that `from` lies in; `None` when its age is not known.
    async fn older_page(
        &self,
        from: u64,
        asked: Instant,
        client: IpAddr,
    ) -> Result<Option<Arc<FeedResponse>>, FeedUnavailable> {
        // From 0 would be a snapshot.
        let start = (from - from % OLDER_PAGE).max(1);
        let mut pages = Arc::clone(&self.feed.pages).lock_owned().await;
        let (now, ring) = (self.clock.now(), self.issuer.ring());
        let is_usable = |page: &&Arc<FeedResponse>| {
            let is_fresh = page.begun >= asked || (self.may_reuse() && page.is_reusable(now));
            let serves = page.span.from == start && page.span.to > from && page.is_signed_by(&ring);
            serves && is_fresh && self.share(page, client)
        };
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
            let is_current = self.may_reuse()
                && response.span.to == self.feed.memory.end().cursor
                && response.is_reusable(self.clock.now());
            let serves = (begun == Begun::AfterRequest || is_current) && response.document.is_held();
            (serves && response.is_signed_by(&self.issuer.ring())) || self.stands_in(response, after)
        };
        let publisher = self.clone();
        let build = move |previous| async move { publisher.build_snapshot(previous, after).await };
        self.feed.snapshots.run(is_usable, build).await.unwrap_or(Err(FeedUnavailable::Overloaded))
    }

    /// Returns whether a response that was read before a request may answer it. With several brokers it may not: another
    /// one may have sent the follower a later `iat`.
    fn may_reuse(&self) -> bool {
        !self.store.is_shared()
    }
}
