//! Why a broker can't be followed.

use std::path::PathBuf;

use super::state_file::StateFileError;
use crate::{
    feed::{FeedError, StalenessError},
    http_client::{BrokerUrlError, SettingsError},
    keys::KeySetError,
};

/// Why a broker can't be followed, or an answer of it couldn't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address isn't an `http` or `https` URL.
    #[error("`{url}` is not an http or https address: {error}")]
    BadUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        error: BrokerUrlError,
    },
    /// A root certificate, the client's identity or the proxy can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The bound on staleness can't be kept.
    #[error(transparent)]
    Staleness(#[from] StalenessError),
    /// The state of an earlier run can't be used, or none can be kept.
    #[error("state file `{}`: {error}", path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        error: StateFileError,
    },
    /// No answer, or the connection broke.
    #[error("`{url}` could not be read: {cause}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong, with every cause.
        cause: String,
    },
    /// An answer other than 200.
    #[error("`{url}` answered {status}")]
    UnexpectedStatus {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// An answer over the limit.
    #[error("the answer of `{url}` is longer than {limit} bytes")]
    TooLong {
        /// The address.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// An answer that isn't a key set.
    #[error("the answer of `{url}` is no key set: {error}")]
    KeySet {
        /// The address.
        url: String,
        /// What is wrong with it.
        error: KeySetError,
    },
    /// An answer of the revocation feed that breaks its rules.
    #[error("the answer of `{url}` was refused: {error}")]
    Feed {
        /// The address.
        url: String,
        /// Which rule.
        error: FeedError,
    },
}
