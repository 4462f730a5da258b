//! Errors of the store.

use std::path::{Path, PathBuf};

use agentwrit_verify::audit::ChainBreak;

use super::LostHistory;
use crate::domain::Disagreement;

/// Error of an operation of the store. Except for [`OutcomeUnknown`](Self::OutcomeUnknown), the operation changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The queue of waiting requests is full.
    #[error("too many requests wait for the store")]
    Busy,
    /// The store can't be read or written now: disk full, read-only, closed.
    #[error("the store is unavailable: {cause}")]
    Unavailable {
        /// Cause.
        cause: String,
    },
    /// The connection was lost during the commit, and the database could not be asked for the outcome in time: the
    /// operation's changes are either all durable or none of them is.
    #[error("the outcome of a commit is not known: {cause}")]
    OutcomeUnknown {
        /// Cause.
        cause: String,
    },
    /// The stored data is invalid.
    #[error("the store is corrupt: {cause}")]
    Corrupt {
        /// Cause.
        cause: String,
    },
    /// A defect in the broker.
    #[error("the store was used wrongly: {cause}")]
    Internal {
        /// Cause.
        cause: String,
    },
}

impl StoreError {
    pub(super) fn closed() -> Self {
        Self::Unavailable { cause: "it is closed".to_owned() }
    }

    pub(super) fn internal(cause: impl Into<String>) -> Self {
        Self::Internal { cause: cause.into() }
    }

    pub(super) fn corrupt(cause: impl Into<String>) -> Self {
        Self::Corrupt { cause: cause.into() }
    }
}

/// Error of opening the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file can't be made, read or locked.
    #[error("`{}`: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: String,
    },
    /// Others than its owner and group can read or write a file.
    #[error("`{}` has mode {mode:04o}, so that others can open it: run `chmod 600` on it", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file has several names, and SQLite keeps a write-ahead log beside each name of a database.
    #[error(
        "`{}` has {links} hard links, and a start by one name misses what is in the write-ahead log beside another: find \
         them with `find -samefile`, keep the name that the broker ran with last, and remove the others", path.display()
    )]
    HardLinks {
        /// The file.
        path: PathBuf,
        /// Number of its names.
        links: u64,
    },
    /// A file beside the database is a symbolic link.
    #[error("`{}` is a symbolic link, which the broker does not follow: remove it", path.display())]
    SymbolicLink {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open: two writers would fork the audit chain.
    #[error("`{}` is in use by another broker: stop that one first, or set AA_DB_PATH to another file", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The database is not a broker's.
    #[error("`{}` is not a database of this broker", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The database was written by a newer version of the broker.
    #[error(
        "`{}` has schema version {found}, this broker knows up to {supported}: run the newer version", path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The highest version that this broker supports.
        supported: i64,
    },
    /// The end of the audit trail was tampered with or damaged.
    #[error("{}", broken_audit(breaks))]
    BrokenAudit {
        /// The breaks, in the order of the trail.
        breaks: Vec<ChainBreak>,
    },
    /// Other brokers of the database have other settings.
    #[error("{}: use the same setting for all of them", disagreements(conflicts))]
    Disagreement {
        /// The settings, at least one.
        conflicts: Vec<Disagreement>,
    },
    /// The state file can't be used.
    #[error("the state file `{}`: {cause}", path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// Cause and remedy.
        cause: String,
    },
    /// The database lacks commits that this broker saw, and `AA_ON_LOST_HISTORY` is `stop`.
    #[error("{0}: run `agentwrit-broker mark-restored` to revoke what was issued until now, then start again")]
    HistoryLost(Box<LostHistory>),
    /// The database server can't be used.
    #[error("the database can't be used: {cause}")]
    Database {
        /// Cause and remedy.
        cause: String,
    },
    /// The database does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn disagreements(conflicts: &[Disagreement]) -> String {
    conflicts.iter().map(Disagreement::to_string).collect::<Vec<_>>().join("; ")
}

/// Largest number of breaks in a message.
const NAMED_BREAKS: usize = 8;

fn broken_audit(breaks: &[ChainBreak]) -> String {
    let named = || breaks.iter().take(NAMED_BREAKS);
    let faults: Vec<String> = named().map(|broken| broken.fault.to_string()).collect();
    let ids: Vec<String> = named().map(|broken| broken.id.to_string()).collect();
    let more = match breaks.len().saturating_sub(NAMED_BREAKS) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!(
        "the audit trail is broken: {}{more}; keep a copy of the database for the investigation, then accept exactly \
         this with `--accept-broken-audit {}`",
        faults.join("; "),
        ids.join(",")
    )
}

impl OpenError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), cause: error.to_string() }
    }
}
