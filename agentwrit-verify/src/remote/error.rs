//! Reasons why a broker cannot be followed.

use std::path::PathBuf;

use super::state_file::StateFileError;
use crate::{
    feed::{FeedError, StalenessError},
    http_client::{BrokerUrlError, SettingsError},
    keys::KeySetError,
    report::AcceptanceError,
};

/// Reason why a broker cannot be followed, or a response not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address isn't an `http` or `https` URL.
    #[error("`{url}` is not an http or https address: {error}")]
    BadUrl {
        /// The address.
        url: String,
        /// Defect of the address.
        error: BrokerUrlError,
    },
    /// A root certificate, the client's identity or the proxy can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The bound on staleness is too short.
    #[error(transparent)]
    Staleness(#[from] StalenessError),
    /// The state file cannot be used or written.
    #[error("state file `{}`: {error}", path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// Defect of the file, and the remedy.
        error: StateFileError,
    },
    /// No response, or the connection broke.
    #[error("`{url}` could not be read: {cause}")]
    Unreachable {
        /// The address.
        url: String,
        /// Cause, in one clause.
        cause: String,
    },
    /// Response with a status other than 200.
    #[error("`{url}` responded with status {status}")]
    UnexpectedStatus {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The broker rejects the reports of this instance as they are: no token is accepted until it accepts one.
    #[error("`{url}` rejected the report with status {status}: {detail}")]
    ReportRejected {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Reason, as the broker gives it.
        detail: String,
    },
    /// Response over the limit.
    #[error("the response of `{url}` is longer than {limit} bytes")]
    TooLong {
        /// The address.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Response that is not a key set.
    #[error("the response of `{url}` is not a key set: {error}")]
    KeySet {
        /// The address.
        url: String,
        /// Defect of the key set.
        error: KeySetError,
    },
    /// An identity without a revocation list, or before the first list.
    #[error("there is no revocation list to report on: an identity needs revocations")]
    NothingToReport,
    /// Response that accepts a report, without the broker's signature in the header `AgentWrit-Report-Acceptance`.
    #[error("`{url}` responded as if it had accepted a report: {error}")]
    Acceptance {
        /// The address.
        url: String,
        /// Defect of the acceptance.
        error: AcceptanceError,
    },
    /// The system gave no random bytes for the id of this instance.
    #[error("the system's random source failed")]
    NoRandomness,
    /// Response of the revocation feed that breaks its rules.
    #[error("the response of `{url}` was rejected: {error}")]
    Feed {
        /// The address.
        url: String,
        /// Broken rule.
        error: FeedError,
    },
}
