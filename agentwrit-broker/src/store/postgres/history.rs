//! Commits that this broker saw, and whether the database still holds them.
//!
//! 1. A standby that is promoted without the last commits of its primary, or a backup that is restored, would give their
//!    numbers to other commits: followers and resource servers would never learn what was revoked.
//! 2. Each transaction, and each reading of the follower, looks the last event up that this broker saw. If it is missing or
//!    another one, history was lost. Events before the first one that is left were archived, not lost.
//! 3. The reaction is a transaction of its own, before any job runs: everything issued so far is revoked, in a new epoch.
//!    Only one broker reacts: for the others, the mark of that reaction covers what they saw. It expires in a day; for a
//!    broker that returns later, the event of the reaction does, or that everything from before the loss has expired. Each broker
//!    withdraws the keys again that it knows as withdrawn.
//! 4. The last commit is in the state file too, within a second: a broker that restarts notices as well.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentwrit_protocol::limits::MAX_TOKEN_TTL;
use agentwrit_verify::UnixTime;
use tokio::sync::watch;
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, unsigned},
    head::Head,
    session::Session,
    state_file::{Seen, StateFile},
    value::values,
};
use crate::{
    audit::{ChainHead, EventHash, EventType, Outcome},
    clock::RETENTION,
    store::{
        OpenError, StoreError,
        audit_lists::kind,
        codec::{from_micros, micros, signed},
        lost_history::{LostHistory, LostHistoryOptions, OnLoss},
    },
};

/// Statement that reads the head row, the first event from `$1` on, and whether the server is a standby; and `more` columns.
macro_rules! check {
    ($more:literal) => {
        concat!(
            "SELECT head.identity, head.epoch, head.audit_seq, head.audit_hash, head.last_time, event.seq, event.hash, \
             pg_is_in_recovery()",
            $more,
            " FROM head LEFT JOIN LATERAL (SELECT seq, hash FROM audit_events WHERE seq >= $1 ORDER BY seq LIMIT 1) AS event \
             ON true WHERE head.one = 1"
        )
    };
}
pub(super) use check;

pub(super) const CHECK: &str = check!("");
/// Latest times until which everything issued was revoked, by the revocations and by the trail, which keeps events of the
/// kind `$1` longer; and whether sessions end by a ceiling.
const MARK: &str = "SELECT (SELECT max(revoked_at) FROM revocations WHERE level = 'issuer'), \
     (SELECT max(at) FROM audit_events WHERE kind = $1), EXISTS (SELECT FROM cluster WHERE max_ttl IS NOT NULL)";
/// Time after which nothing that was issued before is alive, if sessions end by a ceiling.
const ALL_EXPIRED: Duration = Duration::from_secs(MAX_TOKEN_TTL).saturating_add(RETENTION);

/// Commit to look up before a transaction or a reading relies on the database.
#[derive(Clone, Debug)]
pub(super) struct Question {
    seen: Option<Seen>,
    /// Number of lost histories before the question.
    losses: u64,
}

impl Question {
    /// Parameter of [`CHECK`].
    pub(super) fn sequence(&self) -> i64 {
        self.seen.as_ref().map_or(0, |seen| signed(seen.event.sequence))
    }
}

/// The last commit that this broker saw, and the reaction if it is lost.
#[derive(Debug)]
pub(super) struct History {
    state: Mutex<State>,
    file: Option<StateFile>,
    reaction: OnLoss,
    stop: watch::Sender<Option<LostHistory>>,
}

#[derive(Debug, Default)]
struct State {
    seen: Option<Seen>,
    losses: u64,
}

impl History {
    /// Reads the state file, if there is one.
    pub(super) fn open(options: &LostHistoryOptions) -> Result<Arc<Self>, OpenError> {
        let (seen, file) = match &options.state_path {
            Some(path) => StateFile::open(path).map(|(seen, file)| (seen, Some(file)))?,
            None => (None, None),
        };
        let state = Mutex::new(State { seen, losses: 0 });
        Ok(Arc::new(Self { state, file, reaction: options.reaction.clone(), stop: watch::Sender::new(None) }))
    }

    /// Rejects a database that is not the one of the state file.
    pub(super) fn check_identity(&self, session: &Session) -> Result<(), OpenError> {
        let rows = session.rows("SELECT identity FROM head WHERE one = 1", values![])?;
        let found: String = rows.first().map_or_else(|| Err(no_row()), |row| get(row, 0))?;
        match (&self.state().seen, &self.file) {
            (Some(seen), Some(file)) if seen.identity != found => Err(foreign(file.path())),
            _ => Ok(()),
        }
    }

    /// Returns the history that is lost, once the broker has to stop because of it.
    pub(super) fn stopped(&self) -> watch::Receiver<Option<LostHistory>> {
        self.stop.subscribe()
    }

    pub(super) fn question(&self) -> Question {
        let state = self.state();
        Question { seen: state.seen.clone(), losses: state.losses }
    }

    /// Judges the row of [`CHECK`] with the question's parameter. Returns the history that is lost, if it is. Otherwise the
    /// commit of the row is the last one seen.
    pub(super) fn judge(&self, question: &Question, row: &Row) -> Result<Option<LostHistory>, StoreError> {
        let (lost, found) = compare(question, row)?;
        if lost.is_none() {
            self.note(question.losses, found);
        }
        Ok(lost)
    }

    /// Rejects a snapshot that lacks what this broker saw. `row` is that of [`CHECK`].
    pub(super) fn check_snapshot(question: &Question, row: &Row) -> Result<(), StoreError> {
        compare(question, row)?.0.map_or(Ok(()), |lost| Err(unavailable(&lost.to_string())))
    }

    /// Notes a commit of this broker.
    pub(super) fn committed(&self, head: &Head) {
        let question = self.question();
        let Some(Seen { identity, .. }) = question.seen else { return };
        let (epoch, at) = (head.epoch.clone(), from_micros(head.last_time));
        self.note(question.losses, Seen { identity, epoch, event: head.trail.chain, at });
    }

    /// Returns whether nothing that was issued before a loss is alive at `now`: a reaction of another broker, or the operator's
    /// mark after a restore, has revoked it, or it has expired since another log was begun.
    pub(super) fn is_covered(
        session: &Session,
        lost: &LostHistory,
        head: &Head,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        if head.epoch == lost.epoch {
            return Ok(false);
        }
        let rows = session.rows(MARK, values![kind(EventType::HistoryLost, Outcome::Success)])?;
        let Some(row) = rows.first() else { return Ok(false) };
        let marks: [Option<i64>; 2] = [get(row, 0)?, get(row, 1)?];
        let revoked = marks.into_iter().flatten().any(|mark| mark >= micros(lost.until));
        Ok(revoked || (get(row, 2)? && lost.until.saturating_add(ALL_EXPIRED) < now))
    }

    /// Goes on with the history that the database holds, of which this is the head row.
    pub(super) fn accept(&self, head: &Head) {
        let mut state = self.state();
        state.losses = state.losses.saturating_add(1);
        if let Some(seen) = &mut state.seen {
            (seen.epoch, seen.event, seen.at) = (head.epoch.clone(), head.trail.chain, from_micros(head.last_time));
        }
        self.save(&state);
    }

    /// Returns whether a reaction is due although everything issued before the loss is revoked.
    pub(super) fn reacts_when_covered(&self, lost: &LostHistory) -> bool {
        !lost.withdrawn_keys.is_empty() && matches!(self.reaction, OnLoss::React(_))
    }

    /// Returns the reaction to a lost history, or the error of a broker that stops.
    pub(super) fn reaction(&self, lost: &LostHistory) -> Result<crate::store::lost_history::Reaction, StoreError> {
        match &self.reaction {
            OnLoss::React(reaction) => Ok(reaction.clone()),
            OnLoss::Stop => {
                if self.stop.send_replace(Some(lost.clone())).is_none() {
                    tracing::error!(component = "store", "{lost}");
                }
                Err(unavailable(&lost.to_string()))
            }
        }
    }

    /// Writes the state file a last time.
    pub(super) fn close(&self) {
        if let Some(file) = &self.file {
            file.close();
        }
    }

    /// A commit that was read before a history was lost, or that is older, changes nothing.
    fn note(&self, losses: u64, commit: Seen) {
        let mut state = self.state();
        let newer = state.seen.as_ref().is_none_or(|seen| commit.event.sequence > seen.event.sequence);
        if losses == state.losses && newer {
            state.seen = Some(commit);
            self.save(&state);
        }
    }

    fn save(&self, state: &State) {
        if let (Some(file), Some(seen)) = (&self.file, &state.seen) {
            file.save(seen.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares the row of [`CHECK`] with what this broker saw. Returns the history that is lost, if it is, and the commit of
/// the row.
fn compare(question: &Question, row: &Row) -> Result<(Option<LostHistory>, Seen), StoreError> {
    if get(row, 7)? {
        return Err(unavailable("the server is a standby"));
    }
    let found = Seen {
        identity: get(row, 0)?,
        epoch: get(row, 1)?,
        event: ChainHead { sequence: unsigned(row, 2)?, hash: EventHash::from_bytes(bytes(row, 3)?) },
        at: from_micros(get(row, 4)?),
    };
    if let Some(seen) = &question.seen {
        if seen.identity != found.identity {
            return Err(unavailable("the server holds another database than before"));
        }
        let event = match get::<Option<i64>>(row, 5)? {
            Some(_) => Some(ChainHead { sequence: unsigned(row, 5)?, hash: EventHash::from_bytes(bytes(row, 6)?) }),
            None => None,
        };
        if !holds(seen.event, found.event, event) {
            let lost = LostHistory {
                seen: seen.event,
                found: found.event,
                epoch: seen.epoch.clone(),
                until: seen.at,
                withdrawn_keys: Vec::new(),
                is_covered: false,
            };
            return Ok((Some(lost), found));
        }
    }
    Ok((None, found))
}

/// Returns whether a trail that ends at `last` holds the event `seen`, if `event` is its first one from that number on.
fn holds(seen: ChainHead, last: ChainHead, event: Option<ChainHead>) -> bool {
    match event {
        Some(event) if event.sequence == seen.sequence => event.hash == seen.hash,
        Some(_) => true,
        None => seen.sequence == 0 || seen == last,
    }
}

fn foreign(path: &Path) -> OpenError {
    let cause = "it belongs to another database: set AA_STATE_PATH to another file, or delete this one if AA_DATABASE_URL is right";
    OpenError::StateFile { path: path.to_owned(), cause: cause.to_owned() }
}

fn no_row() -> StoreError {
    StoreError::corrupt("the table `head` has no row")
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable { cause: cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, hash: u8) -> ChainHead {
        ChainHead { sequence, hash: EventHash::from_bytes([hash; 32]) }
    }

    #[test]
    fn trail_holds_event_that_is_in_it_or_was_archived() {
        let seen = event(5, 1);
        for (last, first, held) in [
            (event(5, 1), Some(event(5, 1)), true),
            (event(9, 9), Some(event(5, 1)), true),
            (event(9, 9), Some(event(5, 2)), false),
            (event(9, 9), Some(event(7, 7)), true),
            (event(5, 1), None, true),
            (event(5, 2), None, false),
            (event(4, 4), None, false),
            (ChainHead::GENESIS, None, false),
        ] {
            assert_eq!(holds(seen, last, first), held, "{last:?} {first:?}");
        }
        assert!(holds(ChainHead::GENESIS, ChainHead::GENESIS, None));
    }
}
