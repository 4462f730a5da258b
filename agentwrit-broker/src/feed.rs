//! The revocation feed: what resource servers follow.
//!
//! 1. Every answer is a compact JWS of its own type, signed by the active key, with the moment at which it was true.
//!    That moment is read before the state, so that an answer never claims to be fresher than it is.
//! 2. The recent part of the log is kept in memory: what came after a cursor in it costs no query. Anything else gets a
//!    snapshot (`from` 0), of which one is built at a time and shared by all who asked before it was begun: strangers
//!    who ask for old cursors cost no more than one snapshot, and delay no follower.
//! 3. `wait` holds the answer until there is something newer. A waiting request costs its connection and a timer.
//! 4. Entries are left out as soon as they have expired.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentwrit_verify::{Level, RevocationKey, UnixTime};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::timeout,
};

use crate::{authority::Authority, domain::Revocation, service::Error};

/// The `typ` of an answer: never that of a token.
const MEDIA_TYPE: &str = "agentwrit-revocations+jwt";
/// How long an answer may be relied on, in seconds.
const VALIDITY: u64 = 60;
/// How often to ask without long polling, in seconds.
const POLLING_HINT: u64 = 5;
/// How many entries of the log are kept in memory: the most that an answer other than a snapshot can hold.
const RECENT: usize = 1024;
/// How many answers are kept for those who ask the same.
const SHARED_ANSWERS: usize = 16;

/// The end of the log, and answers that can be shared.
#[derive(Debug)]
pub(crate) struct Feed {
    latest: watch::Sender<u64>,
    tail: Mutex<Tail>,
    deltas: Mutex<VecDeque<(Span, Arc<Answer>)>>,
    /// How many snapshots were begun: whoever asked before one was begun may share it. Clocks can be set back.
    snapshots: AtomicU64,
    snapshot: AsyncMutex<Option<(u64, Arc<Answer>)>>,
}

/// The recent entries of the log.
#[derive(Debug)]
struct Tail {
    /// The cursor before the first of them.
    base: u64,
    entries: VecDeque<(u64, Revocation)>,
}

/// Which part of the log, and when: what makes two answers the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: u64,
    to: u64,
    at: u64,
}

/// A signed answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) document: String,
    /// Identifies a snapshot.
    pub(crate) tag: Option<String>,
}

impl Feed {
    pub(crate) fn new(latest: u64) -> Self {
        Self {
            latest: watch::Sender::new(latest),
            tail: Mutex::new(Tail { base: latest, entries: VecDeque::new() }),
            deltas: Mutex::default(),
            snapshots: AtomicU64::new(0),
            snapshot: AsyncMutex::default(),
        }
    }

    /// Takes over a durable entry, and tells those who wait.
    pub(crate) fn announce(&self, cursor: u64, entry: Revocation) {
        {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.entries.push_back((cursor, entry));
            if tail.entries.len() > RECENT
                && let Some((dropped, _)) = tail.entries.pop_front()
            {
                tail.base = dropped;
            }
        }
        self.latest.send_replace(cursor);
    }

    /// What came after a cursor, and up to which one; none when that is not in memory.
    fn after(&self, from: u64) -> Option<(Vec<Revocation>, u64)> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let to = tail.entries.back().map_or(tail.base, |(cursor, _)| *cursor);
        let newer = tail.entries.iter().filter(|(cursor, _)| *cursor > from).map(|(_, entry)| entry.clone());
        (tail.base..=to).contains(&from).then(|| (newer.collect(), to))
    }

    fn shared(&self, span: Span) -> Option<Arc<Answer>> {
        let deltas = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        deltas.iter().find(|(of, _)| *of == span).map(|(_, answer)| Arc::clone(answer))
    }

    fn share(&self, span: Span, answer: &Arc<Answer>) {
        let mut deltas = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        deltas.push_front((span, Arc::clone(answer)));
        deltas.truncate(SHARED_ANSWERS);
    }
}

impl Authority {
    /// What came after `since`, waiting up to `wait` for it; a snapshot without `since`.
    pub(crate) async fn revocations_since(
        self: &Arc<Self>,
        since: Option<u64>,
        wait: Duration,
    ) -> Result<Arc<Answer>, Error> {
        let mut latest = self.feed.latest.subscribe();
        let known = *latest.borrow_and_update();
        // Also at 0: followers of a log that is still empty must not poll busily.
        if since == Some(known) && !wait.is_zero() {
            // Either way there is an answer: something newer, or the same state at a later moment.
            let mut stopping = self.stopping.subscribe();
            let newer = async {
                tokio::select! {
                    _ = latest.changed() => {}
                    _ = stopping.wait_for(|stop| *stop) => {}
                }
            };
            timeout(wait, newer).await.unwrap_or_default();
        }
        match since {
            Some(from) if from > 0 => match self.delta(from) {
                Some(answer) => Ok(answer),
                None => self.snapshot().await,
            },
            Some(_) | None => self.snapshot().await,
        }
    }

    fn delta(&self, from: u64) -> Option<Arc<Answer>> {
        let now = self.clock.now();
        let (newer, to) = self.feed.after(from)?;
        let span = Span { from, to, at: now.seconds() };
        if let Some(answer) = self.feed.shared(span) {
            return Some(answer);
        }
        let answer = Arc::new(self.build(span, newer.iter(), now));
        self.feed.share(span, &answer);
        Some(answer)
    }

    async fn snapshot(self: &Arc<Self>) -> Result<Arc<Answer>, Error> {
        let begun = self.feed.snapshots.load(Ordering::SeqCst);
        let mut shared = self.feed.snapshot.lock().await;
        if let Some((number, answer)) = shared.as_ref().filter(|(number, _)| *number > begun) {
            tracing::trace!(component = "feed", number, "snapshot shared");
            return Ok(Arc::clone(answer));
        }
        let number = self.feed.snapshots.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let now = self.clock.now();
        let (to, rows) = self
            .store
            .read(move |reader| Ok::<_, Error>((reader.latest_cursor()?, reader.live_revocations(now)?)))
            .await?;
        let span = Span { from: 0, to, at: now.seconds() };
        let answer = Arc::new(self.build(span, rows.iter().map(|row| &row.revocation), now));
        *shared = Some((number, Arc::clone(&answer)));
        Ok(answer)
    }

    fn build<'e>(&self, span: Span, entries: impl Iterator<Item = &'e Revocation>, now: UnixTime) -> Answer {
        let entries: Vec<_> =
            entries.filter(|entry| entry.expires_at > now).map(|entry| self.feed_entry(entry)).collect();
        let epoch = &self.epoch;
        let payload = json!({
            "iss": self.policy.issuer,
            "iat": span.at,
            "exp": span.at.saturating_add(VALIDITY),
            "epoch": epoch,
            "from": span.from,
            "to": span.to,
            "ttl": POLLING_HINT,
            "entries": entries,
        });
        let document = self.sign_document(MEDIA_TYPE, payload.to_string().as_bytes());
        Answer { document, tag: (span.from == 0).then(|| format!("\"{epoch}-{}\"", span.to)) }
    }

    /// `[level, key, revoked_at, expires_at]`. The key names nobody.
    fn feed_entry(&self, entry: &Revocation) -> Value {
        let key = if entry.level == Level::Issuer {
            String::new()
        } else {
            BASE64URL_NOPAD.encode(RevocationKey::of(entry.level, &self.policy.issuer, &entry.target).as_bytes())
        };
        json!([entry.level.letter().to_string(), key, entry.revoked_at.seconds(), entry.expires_at.seconds()])
    }
}
