//! The revocation feed: what resource servers follow.
//!
//! 1. Every answer is a compact JWS of its own type, signed by the active key, with the moment at which it was true.
//!    That moment is read before the state, so that an answer never claims to be fresher than it is.
//! 2. `since` that can be served gets what came after; anything else gets a snapshot (`from` 0).
//! 3. `wait` holds the answer until there is something newer. A waiting request costs its connection and a timer.
//! 4. Answers are shared: however many followers wake together, one is built and signed.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use agentwrit_verify::{RevocationKey, UnixTime};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

use crate::{authority::Authority, service::Error, store::RevocationRow};

/// The `typ` of an answer: never that of a token.
const MEDIA_TYPE: &str = "agentwrit-revocations+jwt";
/// How long an answer may be relied on, in seconds.
const VALIDITY: u64 = 60;
/// How often to ask without long polling, in seconds.
const POLLING_HINT: u64 = 5;
/// How many recent answers are shared.
const SHARED_ANSWERS: usize = 16;

/// The log's end, and recent answers.
#[derive(Debug)]
pub(crate) struct Feed {
    latest: watch::Sender<u64>,
    recent: Mutex<VecDeque<(Span, Arc<Answer>)>>,
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

/// Tells those who wait that the log has grown.
#[derive(Clone, Debug)]
pub(crate) struct Announcer(watch::Sender<u64>);

impl Announcer {
    pub(crate) fn announce(&self, cursor: u64) {
        self.0.send_if_modified(|latest| {
            let newer = cursor > *latest;
            *latest = cursor.max(*latest);
            newer
        });
    }
}

impl Feed {
    pub(crate) fn new(latest: u64) -> Self {
        Self { latest: watch::Sender::new(latest), recent: Mutex::default() }
    }

    pub(crate) fn announcer(&self) -> Announcer {
        Announcer(self.latest.clone())
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
        let from = since.filter(|since| *since <= known).unwrap_or(0);
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
        self.answer(from).await
    }

    async fn answer(self: &Arc<Self>, from: u64) -> Result<Arc<Answer>, Error> {
        // One at a time: those who woke together find what the first of them made.
        let mut recent = self.feed.recent.lock().await;
        let now = self.clock.now();
        let span = Span { from, to: *self.feed.latest.borrow(), at: now.seconds() };
        if let Some((_, answer)) = recent.iter().find(|(of, _)| *of == span) {
            return Ok(Arc::clone(answer));
        }
        let (epoch, to, rows) = self
            .store
            .read(move |reader| {
                let rows = reader.revocations_after(from, now)?;
                Ok::<_, Error>((reader.epoch()?, reader.latest_cursor()?, rows))
            })
            .await?;
        let answer = Arc::new(self.build(from, to, &epoch, &rows, now));
        recent.push_front((Span { to, ..span }, Arc::clone(&answer)));
        recent.truncate(SHARED_ANSWERS);
        Ok(answer)
    }

    fn build(&self, from: u64, to: u64, epoch: &str, rows: &[RevocationRow], now: UnixTime) -> Answer {
        let iat = now.seconds();
        let entries: Vec<_> = rows.iter().map(|row| self.entry(row)).collect();
        let payload = json!({
            "iss": self.policy.issuer,
            "iat": iat,
            "exp": iat.saturating_add(VALIDITY),
            "epoch": epoch,
            "from": from,
            "to": to,
            "ttl": POLLING_HINT,
            "entries": entries,
        });
        let document = self.sign_document(MEDIA_TYPE, payload.to_string().as_bytes());
        Answer { document, tag: (from == 0).then(|| format!("\"{epoch}-{to}\"")) }
    }

    /// `[level, key, revoked_at, expires_at]`. The key names nobody.
    fn entry(&self, row: &RevocationRow) -> serde_json::Value {
        let entry = &row.revocation;
        let key = if entry.level == agentwrit_verify::Level::Issuer {
            String::new()
        } else {
            BASE64URL_NOPAD.encode(RevocationKey::of(entry.level, &self.policy.issuer, &entry.target).as_bytes())
        };
        json!([entry.level.letter().to_string(), key, entry.revoked_at.seconds(), entry.expires_at.seconds()])
    }
}
