//! Reasons to reject an operation.

use std::time::Duration;

use agentwrit_protocol::{AttestationKind, RequestError};
use agentwrit_verify::{Scope, proof::ProofError};

use super::keys::KeyError;
use super::verifiers::ReportRejection;
use crate::{
    attestation::Attested,
    domain::TrustRuleId,
    feed::{FeedUnavailable, KeyChangeError, UnknownCursor},
    keys::CustodyError,
    ledger::OperationError,
    limits::{
        budgets::{Budget, BudgetExceeded},
        rate_limit::RetryAfter,
    },
    store::StoreError,
};

/// Rejection or failure of an operation. `http` maps each to a status and a problem, in one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The request itself is malformed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The broker's policy is `off`.
    #[error("field `sender_constrained`: this broker issues no sender-constrained tokens")]
    BindingOff,
    /// Does not tell which part of the credentials was wrong.
    #[error("invalid credentials")]
    BadCredentials,
    #[error("launch token not found")]
    LaunchTokenUnknown,
    #[error("launch token expired")]
    LaunchTokenExpired,
    #[error("launch token already consumed")]
    LaunchTokenConsumed,
    /// The response does not tell what is wrong with the assertion.
    #[error("attestation failed")]
    AttestationFailed(Box<AttestationFailure>),
    /// The assertion can't be judged: its issuer, or the API server that has to confirm it, is not reachable.
    #[error("the attestation cannot be verified now")]
    AttestationUnavailable(Box<AttestationFailure>),
    #[error("nonce not found or expired")]
    NonceUnknown,
    #[error("nonce already consumed")]
    NonceSpent,
    #[error("invalid Ed25519 public key")]
    BadPublicKey,
    #[error("nonce signature verification failed")]
    BadSignature,
    #[error("invalid DPoP proof: {0}")]
    KeyProof(ProofError),
    /// An agent requested more than its launch token or trust rule allows.
    #[error("requested scope exceeds allowed scope")]
    ExceedsAllowedScope { scope: Scope },
    /// The scope exceeds the app's ceiling as it is now.
    #[error("requested scopes exceed app ceiling")]
    ExceedsCeiling { scope: Scope },
    /// The launch token is pinned to another orchestrator or task, or the assertion names another one.
    #[error("the {credential} is for another {field}")]
    Pinned { credential: &'static str, field: &'static str },
    /// A delegator requested more than its token allows.
    #[error("delegated scope exceeds delegator scope")]
    ExceedsDelegator { scope: Scope },
    #[error("delegation depth limit exceeded")]
    TooDeep,
    /// Unknown, expired or revoked: the response does not tell which.
    #[error("delegate agent not found")]
    DelegateUnknown,
    /// The token is valid, and its subject is of a kind that cannot do this.
    #[error("{0}")]
    WrongSubject(&'static str),
    /// The token ended, or can't be extended: the response does not tell which.
    #[error("token renewal failed")]
    RenewalFailed,
    /// The token ended between its verification and the operation.
    #[error("token verification failed")]
    TokenEnded,
    /// The proof of the token's key was accepted before, by a broker of the same store.
    #[error("the proof of the token's key is not accepted")]
    ProofReplayed,
    #[error("no such launch token")]
    NoSuchLaunchToken,
    /// The app behind a token was deregistered.
    #[error("the app is not active")]
    AppInactive,
    #[error("no such app")]
    AppUnknown,
    #[error("an active app of that name exists")]
    NameTaken,
    #[error("a verifier of that name is enrolled{}", if *same_key { " with the same key" } else { " with another key" })]
    VerifierExists { same_key: bool },
    #[error("there are as many verifiers as a broker takes")]
    TooManyVerifiers,
    #[error("a trust rule of that name exists")]
    TrustRuleExists,
    #[error("there are as many trust rules as a broker takes")]
    TooManyTrustRules,
    #[error("no such trust rule")]
    NoSuchTrustRule,
    #[error("no such verifier")]
    NoSuchVerifier,
    #[error("no such instance of the verifier")]
    NoSuchInstance,
    /// An instance that the broker forgets by itself can't be forgotten by the operator.
    #[error("the instance has a bound")]
    InstanceHasBound,
    #[error(transparent)]
    Report(ReportRejection),
    #[error("{}", match .0 {
        UnknownCursor::OtherEpoch => "the cursor is of another revocation log",
        UnknownCursor::Beyond => "the revocation log does not reach this cursor",
    })]
    UnknownCursor(UnknownCursor),
    #[error("no evidence of a confirmation of this cursor is kept")]
    NoEvidence,
    #[error("too many attempts")]
    RateLimited { retry_after: RetryAfter },
    /// A credential has used up what it may have the broker write.
    #[error("{budget}")]
    OverBudget { budget: Budget, retry_after: RetryAfter },
    /// A token issued now would not be valid yet.
    #[error("the clock is {} s behind a not-before mark: it is wrong, or was when the mark was made", by.as_secs())]
    ClockBehind { by: Duration },
    /// A bounded pool or queue is full.
    #[error("too much is waiting")]
    Overloaded,
    /// The state of a signing key, or of the verifiers, does not permit the change.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key that the change needs can't be used or written. The text names the key and the remedy.
    #[error("the signing keys can't be changed: {0}")]
    Custody(#[from] CustodyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        RequestError::invalid(field, problem).into()
    }

    /// Returns the scope that exceeded a limit, if that is the reason.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        if let Self::ExceedsAllowedScope { scope } | Self::ExceedsCeiling { scope } | Self::ExceedsDelegator { scope } =
            self
        {
            Some(scope)
        } else {
            None
        }
    }

    /// Returns whether the request was rejected, rather than failed by the broker: rejections are audited. Those of proofs are
    /// audited where all proofs are judged.
    pub(crate) fn is_denial(&self) -> bool {
        !matches!(
            self,
            Self::ProofReplayed
                | Self::AttestationUnavailable(_)
                | Self::Overloaded
                | Self::ClockBehind { .. }
                | Self::Custody(_)
                | Self::Store(_)
        )
    }
}

/// Reason why an assertion permits no registration: for log and audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttestationFailure {
    /// A word of a fixed list.
    pub(crate) reason: &'static str,
    pub(crate) kind: AttestationKind,
    /// Issuer that the assertion names, verified or not.
    pub(crate) issuer: Option<String>,
    /// Rule that permitted it, before another check failed.
    pub(crate) rule: Option<TrustRuleId>,
}

impl AttestationFailure {
    /// The rejection of an assertion that a rule permits.
    pub(crate) fn of(attested: &Attested, reason: &'static str) -> Self {
        let rule = &attested.rule;
        Self { reason, kind: rule.kind, issuer: Some(rule.issuer.clone()), rule: Some(rule.id.clone()) }
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
            | Budget::RuleRegistrations
            | Budget::AppRegistrations
            | Budget::LaunchTokens => Self::OverBudget { budget, retry_after },
        }
    }
}

impl From<ReportRejection> for Error {
    fn from(rejection: ReportRejection) -> Self {
        if let ReportRejection::Store(error) = rejection { Self::Store(error) } else { Self::Report(rejection) }
    }
}

impl From<KeyChangeError> for Error {
    fn from(error: KeyChangeError) -> Self {
        match error {
            KeyChangeError::Custody(error) => Self::Custody(error),
            KeyChangeError::Store(error) => Self::Store(error),
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
