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
//! 4. The last commit is in the state file too, within a second: a broker that restarts notices as well. A key that this broker
//!    withdrew is there before the response, unless its disk fails or hangs; one that another broker withdrew as soon as it is read.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentwrit_protocol::limits::MAX_TOKEN_TTL;
use agentwrit_verify::UnixTime;
use tokio::sync::watch;
use tokio_postgres::Row;

use super::{
    codec::get,
    head::Head,
    remembered::{Remembered, Seen},
    seen_commit::{Question, compare},
    session::Session,
    state_file::StateFile,
    value::values,
};
use crate::{
    audit::{EventType, Outcome},
    clock::RETENTION,
    store::{
        OpenError, StoreError,
        audit_lists::kind,
        codec::{from_micros, micros},
        lost_history::{LostHistory, LostHistoryOptions, OnLoss, Reaction},
    },
};

/// Latest times until which everything issued was revoked, by the revocations and by the trail, which keeps events of the
/// kind `$1` longer; and whether sessions end by a ceiling.
const MARK: &str = "SELECT (SELECT max(revoked_at) FROM revocations WHERE level = 'issuer'), \
     (SELECT max(at) FROM audit_events WHERE kind = $1), EXISTS (SELECT FROM cluster WHERE max_ttl IS NOT NULL)";
/// Time after which nothing that was issued before is alive, if sessions end by a ceiling.
const ALL_EXPIRED: Duration = Duration::from_secs(MAX_TOKEN_TTL).saturating_add(RETENTION);

/// The last commit that this broker saw, and the reaction if it is lost.
#[derive(Debug)]
pub(super) struct History {
    state: Mutex<State>,
    file: Option<StateFile>,
    reaction: OnLoss,
    withdraw_again: Option<Reaction>,
    stop: watch::Sender<Option<LostHistory>>,
}

#[derive(Debug, Default)]
struct State {
    seen: Option<Seen>,
    losses: u64,
    /// Ids of all keys that were withdrawn, also in a history that is lost.
    withdrawn_keys: Arc<BTreeSet<String>>,
}

impl History {
    /// Reads the state file, if there is one.
    pub(super) fn open(options: &LostHistoryOptions) -> Result<Arc<Self>, OpenError> {
        let (remembered, file) = match &options.state_path {
            Some(path) => StateFile::open(path).map(|(remembered, file)| (remembered, Some(file)))?,
            None => (None, None),
        };
        let state = remembered.map_or_else(State::default, |Remembered { seen, withdrawn_keys }| State {
            seen: Some(seen),
            losses: 0,
            withdrawn_keys,
        });
        let LostHistoryOptions { reaction, withdraw_again, .. } = options.clone();
        Ok(Arc::new(Self { state: Mutex::new(state), file, reaction, withdraw_again, stop: watch::Sender::new(None) }))
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

    /// Returns the job that withdraws keys again, if it has any to withdraw.
    pub(super) fn withdraw_again(&self, lost: &LostHistory) -> Option<Reaction> {
        self.withdraw_again.clone().filter(|_| !lost.withdrawn_keys.is_empty())
    }

    /// Returns the ids of the keys that this broker knows as withdrawn.
    pub(super) fn withdrawn_keys(&self) -> Vec<String> {
        self.state().withdrawn_keys.iter().cloned().collect()
    }

    /// Returns true if the state file could not be written, or is not written in time.
    pub(super) fn is_file_behind(&self) -> bool {
        self.file.as_ref().is_some_and(StateFile::is_behind)
    }

    /// Records keys that this broker withdrew. They are in the state file when this returns, unless it is behind.
    pub(super) fn record_withdrawals(&self, kids: &[String]) {
        let written = {
            let mut state = self.state();
            state.add_withdrawals(kids.to_vec()).then(|| state.remembered()).flatten()
        };
        if let (Some(file), Some(remembered)) = (&self.file, written) {
            file.save_and_wait(remembered);
        }
    }

    /// Learns of keys that were withdrawn, also by other brokers. They are in the state file shortly.
    pub(super) fn learn_withdrawals(&self, kids: Vec<String>) {
        let mut state = self.state();
        if state.add_withdrawals(kids)
            && let (Some(file), Some(remembered)) = (&self.file, state.remembered())
        {
            file.save_at_once(remembered);
        }
    }

    /// Returns the reaction to a lost history, or the error of a broker that stops.
    pub(super) fn reaction(&self, lost: &LostHistory) -> Result<Reaction, StoreError> {
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
        if let (Some(file), Some(remembered)) = (&self.file, state.remembered()) {
            file.save(remembered);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether any of the keys is new.
    fn add_withdrawals(&mut self, kids: Vec<String>) -> bool {
        let before = self.withdrawn_keys.len();
        if kids.iter().any(|kid| !self.withdrawn_keys.contains(kid)) {
            Arc::make_mut(&mut self.withdrawn_keys).extend(kids);
        }
        self.withdrawn_keys.len() > before
    }

    /// Returns what the state file is to hold, once a commit was seen.
    fn remembered(&self) -> Option<Remembered> {
        let withdrawn_keys = Arc::clone(&self.withdrawn_keys);
        self.seen.clone().map(|seen| Remembered { seen, withdrawn_keys })
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
