//! Why an operation was refused.

use std::time::Duration;

use agentwrit_protocol::RequestError;
use agentwrit_verify::Scope;

use crate::{
    feed::FeedUnavailable,
    ledger::OperationError,
    limits::{
        budgets::{Budget, BudgetExceeded},
        rate_limit::RetryAfter,
    },
    store::StoreError,
};

/// Why an operation was refused or failed. `http` turns each into a status and a problem, in one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The request itself is malformed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Neither says which part was wrong.
    #[error("invalid credentials")]
    BadCredentials,
    #[error("launch token not found")]
    LaunchTokenUnknown,
    #[error("launch token expired")]
    LaunchTokenExpired,
    #[error("launch token already consumed")]
    LaunchTokenConsumed,
    #[error("nonce not found or expired")]
    NonceUnknown,
    #[error("nonce already consumed")]
    NonceSpent,
    #[error("invalid Ed25519 public key")]
    BadPublicKey,
    #[error("nonce signature verification failed")]
    BadSignature,
    /// An agent asked for more than its launch token allows.
    #[error("requested scope exceeds allowed scope")]
    ExceedsLaunchToken { scope: Scope },
    /// More than the app may hand out, now.
    #[error("requested scopes exceed app ceiling")]
    ExceedsCeiling { scope: Scope },
    /// The launch token is pinned to another orchestrator or task.
    #[error("the launch token is for another {field}")]
    Pinned { field: &'static str },
    /// A delegator asked for more than its token allows.
    #[error("delegated scope exceeds delegator scope")]
    ExceedsDelegator { scope: Scope },
    #[error("delegation depth limit exceeded")]
    TooDeep,
    /// Unknown, expired or revoked: a stranger can't tell which.
    #[error("delegate agent not found")]
    DelegateUnknown,
    /// The token is valid and speaks for somebody who can't do this.
    #[error("{0}")]
    WrongSubject(&'static str),
    /// The token ended, or can't be extended: nobody is told which.
    #[error("token renewal failed")]
    RenewalFailed,
    /// The token ended between its verification and the operation.
    #[error("token verification failed")]
    TokenEnded,
    #[error("no such launch token")]
    NoSuchLaunchToken,
    /// The app behind a token was deregistered.
    #[error("the app is not active")]
    AppInactive,
    #[error("no such app")]
    AppUnknown,
    #[error("an active app of that name exists")]
    NameTaken,
    #[error("too many attempts")]
    RateLimited { retry_after: RetryAfter },
    /// A credential has used up what it may have written.
    #[error("{budget}")]
    OverBudget { budget: Budget, retry_after: RetryAfter },
    /// A token issued now would not be valid yet.
    #[error("the clock is {} s behind a not-before mark: it is wrong, or was when the mark was made", by.as_secs())]
    ClockBehind { by: Duration },
    /// Too much waits already.
    #[error("too much is waiting")]
    Overloaded,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        RequestError::invalid(field, problem).into()
    }

    /// The scope that was too much, if that was it.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        if let Self::ExceedsLaunchToken { scope } | Self::ExceedsCeiling { scope } | Self::ExceedsDelegator { scope } =
            self
        {
            Some(scope)
        } else {
            None
        }
    }

    /// Whether the client was refused, rather than failed by the broker: what belongs into the audit trail.
    pub(crate) fn is_denial(&self) -> bool {
        !matches!(self, Self::Overloaded | Self::ClockBehind { .. } | Self::Store(_))
    }
}

impl OperationError for Error {
    fn is_store_failure(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

impl From<BudgetExceeded> for Error {
    /// A client that logs in receives the same response whichever limit it exceeds.
    fn from(BudgetExceeded { budget, retry_after }: BudgetExceeded) -> Self {
        match budget {
            Budget::AppLogins | Budget::AppLoginsOverall | Budget::AdminLogins => Self::RateLimited { retry_after },
            Budget::Renewals
            | Budget::Delegations
            | Budget::DescendantRenewals
            | Budget::DescendantDelegations
            | Budget::Registrations
            | Budget::AppRegistrations
            | Budget::LaunchTokens => Self::OverBudget { budget, retry_after },
        }
    }
}

impl From<FeedUnavailable> for Error {
    fn from(unavailable: FeedUnavailable) -> Self {
        match unavailable {
            FeedUnavailable::Overloaded => Self::Overloaded,
            FeedUnavailable::Store(error) => Self::Store(error),
        }
    }
}
