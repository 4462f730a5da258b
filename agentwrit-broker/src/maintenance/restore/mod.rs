//! Marks after a restore from a backup: revocations that the backup lacks must stay in force.
//!
//! 1. Every token issued until the mark is revoked, in a new epoch of the revocation log; tokens that are dated after it,
//!    because the clock was ahead, are revoked one by one.
//! 2. Launch tokens are deleted, agents are barred, issued nonces are expired, and every app is suspended: some of
//!    them may have been used, revoked or deregistered after the backup. An operator resumes the apps that may go on.
//! 3. A mark from a wrong clock does harm: ahead, nothing can be issued before its time; behind, it misses tokens. So it is
//!    rejected where the clock does not fit the newest record and the time that had passed for certain, unless the operator
//!    confirms the clock. Then marks that are dated after it are taken back, so that a wrong one can be corrected.
//! 4. The database must exist and hold records: with a wrong path, a new one would be marked, and the restored one not.
//!    Brokers on a shared database may run meanwhile: they follow the new epoch.
//! 5. All of it is one transaction, including the acceptance of a broken audit trail: a rejected mark records nothing.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use agentwrit_protocol::limits::MAX_TOKEN_TTL;
use agentwrit_verify::{AppId, Level, Subject, UnixTime, audit::ChainBreak};
use tokio::task::spawn_blocking;

use crate::{
    audit::{EventType, NewEvent},
    clock::{MAX_STEP, RecordedTime},
    config::Config,
    domain::Revocation,
    issuer::nonce::Nonces,
    store::{OpenError, Store, StoreError, StoreOptions, Tx, canonical, has_schema},
};

/// Longest lifetime of a token: the largest that a launch token may grant.
const LONGEST_TTL: Duration = Duration::from_secs(MAX_TOKEN_TTL);
/// Largest age of a backup for which the clock need not be confirmed: a day, and an hour.
const USUAL_AGE: Duration = Duration::from_secs(25 * 3600);

/// Marks the database as restored: every token issued until now is revoked, and credentials that may have been used or
/// withdrawn after the backup count as such. `clock_is_right` confirms that the operator compared the clock with another.
///
/// # Errors
///
/// [`RestoreError`], and nothing was done.
pub async fn mark_restored(config: &Config, clock_is_right: bool) -> Result<OnDatabase<Restored>, RestoreError> {
    change(config, move |tx, accepted, now| mark(tx, accepted, now, clock_is_right)).await
}

/// Confirms the clock: records that have expired by it may be deleted from the next start on.
///
/// # Errors
///
/// [`RestoreError`], and nothing was done.
pub async fn confirm_clock(config: &Config) -> Result<OnDatabase<ConfirmedClock>, RestoreError> {
    change(config, confirm).await
}

/// Changes the database, which must hold records, in one transaction.
async fn change<T: Send + 'static>(
    config: &Config,
    change: impl FnOnce(&mut Tx<'_>, &[ChainBreak], UnixTime) -> Result<T, RestoreError> + Clone + Send + 'static,
) -> Result<OnDatabase<T>, RestoreError> {
    let (store, database) = open(config).await?;
    let accepted = store.accepted_breaks().to_vec();
    let path = database.clone();
    let outcome = store
        .transact(move |tx| {
            if tx.recorded_time()? == RecordedTime::default() {
                return Err(path.map_or(RestoreError::EmptyShared, |path| RestoreError::Empty { path }));
            }
            let now = tx.now();
            change(tx, &accepted, now)
        })
        .await;
    store.close().await;
    outcome.map(|change| OnDatabase { database, change })
}

/// Opens the database of the configuration. Returns its canonical path, which a shared database has none of.
pub(super) async fn open(config: &Config) -> Result<(Store, Option<PathBuf>), RestoreError> {
    let accept_broken_audit = config.accept_broken_audit.clone();
    let options = StoreOptions { accept_broken_audit, ..StoreOptions::default() };
    let Some(shared) = &config.shared_store else {
        let path = existing_database(&config.db_path)?;
        return Ok((Store::open(&path, options)?, Some(path)));
    };
    let url = shared.url.clone();
    let connected = spawn_blocking(move || {
        // A broker would create the tables.
        if has_schema(url.expose())? {
            Ok(Store::connect(url.expose(), options)?)
        } else {
            Err(RestoreError::EmptyShared)
        }
    });
    Ok((connected.await.map_err(|error| StoreError::Internal { cause: error.to_string() })??, None))
}

/// Returns the canonical path of the database. Rejects a missing and an empty one before [`Store::open`] creates it.
fn existing_database(path: &Path) -> Result<PathBuf, RestoreError> {
    let missing =
        |path: &Path| RestoreError::Missing { path: std::path::absolute(path).unwrap_or_else(|_| path.into()) };
    let canonical = match canonical(path) {
        Ok(canonical) => canonical,
        // Its directory is missing; a link to a missing file is an error of its own.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            return Err(missing(path));
        }
        Err(error) => return Err(OpenError::io(path, &error).into()),
    };
    match fs::metadata(&canonical) {
        Ok(found) if found.len() == 0 => Err(RestoreError::Empty { path: canonical }),
        Ok(_) => Ok(canonical),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(&canonical)),
        Err(error) => Err(OpenError::io(&canonical, &error).into()),
    }
}

/// Change that a command made, and the database that it made it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDatabase<T> {
    /// Canonical path of the database, or None for that of `AA_DATABASE_URL`.
    pub database: Option<PathBuf>,
    /// The change.
    pub change: T,
}

impl<T: fmt::Display> fmt::Display for OnDatabase<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.database.as_deref().unwrap_or(Path::new("PostgreSQL (AA_DATABASE_URL)"));
        write!(f, "{}\ndatabase: {}", self.change, database.display())
    }
}

/// Changes made to a restored database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Tokens issued until then are revoked.
    pub marked_at: UnixTime,
    /// Number of launch tokens that were deleted.
    pub launch_tokens_deleted: u64,
    /// Number of agents that were barred and were not before.
    pub agents_barred: u64,
    /// Apps that were active and are suspended now.
    pub apps_suspended: Vec<AppId>,
    /// Number of not-before marks dated after this one, which were deleted.
    pub later_marks_deleted: u64,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "marked as restored: everything issued until {} is revoked", self.marked_at.to_rfc3339())?;
        if self.later_marks_deleted > 0 {
            writeln!(f, "marks of a later time taken back: {}", self.later_marks_deleted)?;
        }
        writeln!(f, "launch tokens deleted: {}", self.launch_tokens_deleted)?;
        writeln!(f, "agents barred: {}", self.agents_barred)?;
        write!(f, "apps suspended: {}", self.apps_suspended.len())?;
        for app in &self.apps_suspended {
            write!(f, "\n  {app}")?;
        }
        if !self.apps_suspended.is_empty() {
            let remedy = "after the start: `awrit app remove --id ID` for each app that was deregistered after the backup, \
                          then `awrit app resume --all`";
            write!(f, "\n{remedy}")?;
        }
        Ok(())
    }
}

/// Recorded times before and after the clock was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmedClock {
    /// The time that had passed for certain; none in a new database.
    pub before: Option<UnixTime>,
    /// The time that counts as passed now.
    pub now: UnixTime,
}

impl fmt::Display for ConfirmedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clock confirmed: what expired before {} may be deleted", self.now.to_rfc3339())?;
        match self.before {
            Some(before) => write!(f, ", until now {}", before.to_rfc3339()),
            None => Ok(()),
        }
    }
}

/// Error because of which the database was not marked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is no database.
    #[error("there is no database `{}`: set AA_DB_PATH to the one that the broker uses", path.display())]
    Missing {
        /// The absolute path.
        path: PathBuf,
    },
    /// The database holds no records: no broker has run on it.
    #[error("the database `{}` is empty: set AA_DB_PATH to the one that the broker uses", path.display())]
    Empty {
        /// The canonical path.
        path: PathBuf,
    },
    /// The shared database holds no records: no broker has run on it.
    #[error("the shared database is empty: set AA_DATABASE_URL to the one that the brokers use")]
    EmptyShared,
    /// The database can't be opened, e.g. because a broker runs on it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The records are much older than the mark would be.
    #[error(
        "the clock shows {}, the records of the database show {}: a mark from a clock that is ahead keeps everyone from \
         logging in until its time; if the clock is right and the backup so old, run again with `--clock-is-right`",
        now.to_rfc3339(), recorded.to_rfc3339()
    )]
    ClockAhead {
        /// The clock's time.
        now: UnixTime,
        /// The earlier of the newest record and the time that had passed for certain.
        recorded: UnixTime,
    },
    /// The records are later than the mark would be.
    #[error(
        "the clock shows {}, the records of the database show {}: a mark from a clock that is behind misses what was issued \
         since; if the clock is right and was ahead before, run again with `--clock-is-right`",
        now.to_rfc3339(), recorded.to_rfc3339()
    )]
    ClockBehind {
        /// The clock's time.
        now: UnixTime,
        /// The later of the newest record and the time that had passed for certain.
        recorded: UnixTime,
    },
}

/// Time of the mark: now, but not before the newest record.
///
/// A clock that is wrong dates records too: a rejected login is enough to make one. The time that has passed for certain
/// does not follow such a clock, so the clock must fit both. A record is missing in a new store, the certain time in one
/// of an earlier version.
fn mark_time(now: UnixTime, recorded: RecordedTime, clock_is_right: bool) -> Result<UnixTime, RestoreError> {
    let RecordedTime { certain, newest } = recorded;
    let newest = Some(newest).filter(|newest| *newest != UnixTime::default());
    let known = || newest.into_iter().chain(certain);
    let (Some(earliest), Some(latest), false) = (known().min(), known().max(), clock_is_right) else { return Ok(now) };
    if now.saturating_since(earliest) > USUAL_AGE {
        return Err(RestoreError::ClockAhead { now, recorded: earliest });
    }
    if latest.saturating_since(now) > MAX_STEP {
        return Err(RestoreError::ClockBehind { now, recorded: latest });
    }
    Ok(newest.map_or(now, |newest| now.max(newest)))
}

fn mark(
    tx: &mut Tx<'_>,
    accepted: &[ChainBreak],
    now: UnixTime,
    clock_is_right: bool,
) -> Result<Restored, RestoreError> {
    let marked_at = mark_time(now, tx.recorded_time()?, clock_is_right)?;
    tx.record_accepted_breaks(accepted, now)?;
    let later_marks_deleted = tx.delete_not_before_marks_after(marked_at)?;
    let RevokedCredentials { launch_tokens_deleted, agents_barred } =
        revoke_everything(tx, marked_at, "restored from a backup")?;
    let apps_suspended = tx.suspend_apps(marked_at)?;
    let restored = Restored { marked_at, launch_tokens_deleted, agents_barred, apps_suspended, later_marks_deleted };
    if clock_is_right {
        tx.record_certain_time(now)?;
    }
    record(tx, &restored)?;
    Ok(restored)
}

/// Numbers of credentials that [`revoke_everything`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RevokedCredentials {
    /// Number of launch tokens that were deleted.
    pub(super) launch_tokens_deleted: u64,
    /// Number of agents that were barred and were not before.
    pub(super) agents_barred: u64,
}

/// Revokes everything issued until `marked_at`, in a new epoch of the revocation log: tokens, launch tokens, agents, nonces.
pub(super) fn revoke_everything(
    tx: &mut Tx<'_>,
    marked_at: UnixTime,
    reason: &str,
) -> Result<RevokedCredentials, StoreError> {
    tx.start_epoch()?;
    for revocation in revocations(tx, marked_at, reason)? {
        tx.insert_revocation(&revocation)?;
    }
    tx.expire_nonces_until(marked_at.saturating_add(Nonces::LIFETIME))?;
    Ok(RevokedCredentials {
        launch_tokens_deleted: tx.delete_launch_tokens()?,
        agents_barred: tx.bar_agents(marked_at)?,
    })
}

/// Ends every token. Returns the revocations: the mark, and one for each token that is dated after it.
fn revocations(tx: &mut Tx<'_>, marked_at: UnixTime, reason: &str) -> Result<Vec<Revocation>, StoreError> {
    let everything = Revocation {
        level: Level::Issuer,
        target: String::new(),
        revoked_at: marked_at,
        expires_at: marked_at.saturating_add(LONGEST_TTL),
        revoked_by: Subject::Admin,
        reason: Some(reason.to_owned()),
        listed: true,
    };
    let dated_later = tx.end_all_tokens(marked_at)?.into_iter().map(|(jti, expires_at)| Revocation {
        level: Level::Token,
        target: jti.to_string(),
        expires_at,
        listed: false,
        ..everything.clone()
    });
    let mut revocations: Vec<_> = dated_later.collect();
    revocations.push(everything);
    Ok(revocations)
}

fn record(tx: &mut Tx<'_>, restored: &Restored) -> Result<(), StoreError> {
    let at = restored.marked_at;
    let detail = "store restored from a backup, everything issued until now is revoked";
    let event = NewEvent::success(EventType::TokenRevoked, at, Subject::Admin, detail)
        .word("level", Level::Issuer)
        .word("launch_tokens_deleted", restored.launch_tokens_deleted)
        .word("agents_barred", restored.agents_barred)
        .word("apps_suspended", restored.apps_suspended.len());
    tx.append(event)?;
    for app in &restored.apps_suspended {
        let detail = "app suspended until the operator confirms it after a restore";
        tx.append(NewEvent::success(EventType::AppSuspended, at, Subject::Admin, detail).resource(app))?;
    }
    Ok(())
}

fn confirm(tx: &mut Tx<'_>, accepted: &[ChainBreak], now: UnixTime) -> Result<ConfirmedClock, RestoreError> {
    let before = tx.recorded_time()?.certain;
    tx.record_accepted_breaks(accepted, now)?;
    tx.record_certain_time(now)?;
    Ok(ConfirmedClock { before, now })
}

#[cfg(test)]
mod tests;
