//! Reasons for which a request is rejected.

use std::borrow::Cow;
use std::fmt;

use agentwrit_verify::{FeedCursor, Scope, ScopeError, Subject, TokenId, VerifyError};
use http::Method;

use crate::verified::Verified;

/// Reason for which a request was rejected, for logs and audit.
///
/// Every response that these layers make has it in its extensions, for outer layers. Body and headers tell the client
/// less.
///
/// ```
/// use agentwrit_tower::{CredentialsError, Rejection};
/// use http::Response;
///
/// fn audit<B>(response: &Response<B>) {
///     if let Some(rejection) = response.extensions().get::<Rejection>() {
///     println!("rejected: {}, subject {:?}", rejection.reason(), rejection.subject());
///     }
/// }
/// # let mut response = Response::new(());
/// # response.extensions_mut().insert(Rejection::NoToken(CredentialsError::Missing));
/// # audit(&response);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The request has no token: 401.
    #[error("no bearer token was presented")]
    NoToken(#[source] CredentialsError),

    /// The request has tokens in more than one [source](crate::TokenSource): 400 (RFC 6750 §2).
    #[error("tokens were presented in more than one way")]
    MultipleTokens,

    /// The token is not valid: 401.
    #[error("the token is not valid")]
    InvalidToken(#[source] VerifyError),

    /// No token can be verified at present, because the verifier's keys or revocations are missing or stale: 503.
    #[error("tokens cannot be verified at present")]
    Unavailable(#[source] VerifyError),

    /// The token is valid and grants too little: 403.
    #[error("{missing}")]
    #[non_exhaustive]
    InsufficientScope {
        /// The scopes that the challenge names.
        required: Vec<Scope>,
        /// The scopes that the token lacks.
        missing: MissingScope,
        /// The claims of the token.
        verified: Verified,
    },

    /// The token is valid, its subject is not an agent, and only agents are accepted: 403.
    #[error("only an agent may do this")]
    NotAnAgent(Verified),

    /// A path parameter that fills a scope's identifier is not an identifier: 400.
    #[error("the path's `{parameter}` is not an identifier")]
    #[non_exhaustive]
    BadIdentifier {
        /// The parameter of the path.
        parameter: String,
        /// The reason.
        #[source]
        cause: IdentifierError,
    },

    /// The closure of [`RequireScope::from_request`](crate::RequireScope::from_request) rejected the request: 400.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),

    /// No scope is named for the request's method: 405.
    #[error("no scope is named for this method")]
    #[non_exhaustive]
    MethodNotAllowed {
        /// The methods for which a scope is named.
        allowed: Vec<Method>,
    },

    /// The path does not match the layer's pattern: 404.
    #[error("the path is not of this route's pattern")]
    UnknownPath,

    /// The header `AgentWrit-At-Least` is not one cursor: 400.
    #[error("the `AgentWrit-At-Least` header is not one cursor")]
    MalformedCursor,

    /// The revocation list has not reached the cursor in the request's `AgentWrit-At-Least`: 503.
    #[error("the revocation list has not reached cursor `{cursor}`")]
    #[non_exhaustive]
    CursorNotReached {
        /// The required cursor.
        cursor: FeedCursor,
    },

    /// The layers are configured in a way in which no decision is possible: 500.
    #[error("{0}")]
    Misconfigured(Misconfiguration),
}

/// Reason for which a request counts as one without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The layer's token sources are empty.
    #[error("there is no token")]
    Missing,
    /// The `Authorization` header is not `Bearer <token>`.
    #[error("the authorization header is not `Bearer <token>`")]
    Malformed,
    /// The request has several `Authorization` headers.
    #[error("there is more than one authorization header")]
    Repeated,
    /// The cookie or the custom source has characters that no token has.
    #[error("the cookie or custom source holds no well-formed token")]
    MalformedToken,
    /// The request has several cookies of the name.
    #[error("there is more than one cookie of the token's name")]
    RepeatedCookie,
}

/// Scopes that a token lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingScope {
    /// The token lacks all of these; it may hold other required ones.
    All(Vec<Scope>),
    /// The token holds none of these, one of which is required.
    OneOf(Vec<Scope>),
    /// The token holds no scope of this kind, given as its wildcard.
    OfKind(Scope),
}

impl fmt::Display for MissingScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(scopes) => write!(f, "the token lacks the required scope `{}`", spaced(scopes)),
            Self::OneOf(scopes) => write!(f, "the token holds none of the scopes `{}`", spaced(scopes)),
            Self::OfKind(kind) => write!(f, "the token holds no scope `{}:{}:…`", kind.action(), kind.resource()),
        }
    }
}

/// Error of a path parameter that is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifierError {
    /// The percent-decoded bytes are not UTF-8.
    #[error("not UTF-8 once percent-decoded")]
    NotUtf8,
    /// The text is not a part of a scope.
    #[error(transparent)]
    Scope(#[from] ScopeError),
}

/// Error of a [`RequireScope::from_request`](crate::RequireScope::from_request) closure that cannot determine the
/// required scopes from a request: 400, with one sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadRequest {
    detail: Cow<'static, str>,
}

impl BadRequest {
    /// Creates the error with one sentence for the client.
    pub fn new(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into() }
    }
}

/// Mistakes in the configuration of layers. Each rejects every request that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misconfiguration {
    /// A [`RequireScope`](crate::RequireScope) without a verifier is beneath no layer that has one.
    #[error("no verifier here and no `Authenticate` layer around it")]
    NoVerifier,
    /// A handler extracts [`Verified`](crate::Verified) or `Agent` where no layer has verified a token.
    #[error("the handler wants the claims of a token, and no `Authenticate` or `RequireScope` layer is around it")]
    NoClaims,
    /// A handler extracts [`GrantedIdentifiers`](crate::GrantedIdentifiers) where no layer requires some scope of a
    /// kind.
    #[error("the handler wants `GrantedIdentifiers`, and no `RequireScope::some_of_kind` layer is around it")]
    NoGrantedIdentifiers,
    /// `EndWithToken` is beneath no layer that has verified a token.
    #[error("`EndWithToken` stands under no `Authenticate` or `RequireScope` layer that verifies")]
    NoTokenToRecheck,
    /// The scope names a parameter that the route's path does not have.
    #[error("the scope wants the path parameter `{parameter}`, which the route does not have")]
    #[non_exhaustive]
    NoSuchParameter {
        /// The name of the parameter.
        parameter: String,
    },
    /// The route's path has the parameter more than once.
    #[error("the scope wants the path parameter `{parameter}`, which the route has more than once")]
    #[non_exhaustive]
    RepeatedParameter {
        /// The name of the parameter.
        parameter: String,
    },
}

impl Rejection {
    /// Returns the reason in `snake_case`: one of a small fixed set, for use as a metric's label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoToken(CredentialsError::Missing) => "no_token",
            Self::NoToken(CredentialsError::Malformed) => "malformed_authorization",
            Self::NoToken(CredentialsError::Repeated) => "repeated_authorization",
            Self::NoToken(CredentialsError::MalformedToken) => "malformed_token_source",
            Self::NoToken(CredentialsError::RepeatedCookie) => "repeated_cookie",
            Self::MultipleTokens => "several_tokens",
            Self::InvalidToken(error) | Self::Unavailable(error) => error.reason(),
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::NotAnAgent(_) => "not_an_agent",
            Self::BadIdentifier { .. } => "bad_identifier",
            Self::BadRequest(_) => "unacceptable",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::UnknownPath => "unknown_path",
            Self::MalformedCursor => "malformed_cursor",
            Self::CursorNotReached { .. } => "cursor_not_reached",
            Self::Misconfigured(Misconfiguration::NoVerifier | Misconfiguration::NoTokenToRecheck) => "missing_layer",
            Self::Misconfigured(Misconfiguration::NoClaims | Misconfiguration::NoGrantedIdentifiers) => {
                "missing_layer_of_handler"
            }
            Self::Misconfigured(Misconfiguration::NoSuchParameter { .. }) => "missing_parameter",
            Self::Misconfigured(Misconfiguration::RepeatedParameter { .. }) => "repeated_parameter",
        }
    }

    /// Returns the token's subject, which is known if the token's signature is valid.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self.token() {
            RejectedToken::Valid(verified) => Some(verified.subject()),
            RejectedToken::Invalid(error) => error.subject(),
            RejectedToken::Unknown => None,
        }
    }

    /// Returns the token's `jti`, which is known if its [subject](Self::subject) is.
    #[must_use]
    pub fn token_id(&self) -> Option<TokenId> {
        match self.token() {
            RejectedToken::Valid(verified) => Some(verified.token_id()),
            RejectedToken::Invalid(error) => error.token_id(),
            RejectedToken::Unknown => None,
        }
    }

    /// Returns the claims of a valid token with too few rights.
    pub(crate) fn verified(&self) -> Option<&Verified> {
        match self.token() {
            RejectedToken::Valid(verified) => Some(verified),
            RejectedToken::Invalid(_) | RejectedToken::Unknown => None,
        }
    }

    fn token(&self) -> RejectedToken<'_> {
        match self {
            Self::InsufficientScope { verified, .. } | Self::NotAnAgent(verified) => RejectedToken::Valid(verified),
            Self::InvalidToken(error) | Self::Unavailable(error) => RejectedToken::Invalid(error),
            Self::NoToken(_)
            | Self::MultipleTokens
            | Self::BadIdentifier { .. }
            | Self::BadRequest(_)
            | Self::MethodNotAllowed { .. }
            | Self::UnknownPath
            | Self::MalformedCursor
            | Self::CursorNotReached { .. }
            | Self::Misconfigured(_) => RejectedToken::Unknown,
        }
    }
}

/// The token of a rejected request, as far as it was verified.
enum RejectedToken<'a> {
    Valid(&'a Verified),
    Invalid(&'a VerifyError),
    Unknown,
}

impl From<CredentialsError> for Rejection {
    fn from(reason: CredentialsError) -> Self {
        Self::NoToken(reason)
    }
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        if error.is_unavailable() { Self::Unavailable(error) } else { Self::InvalidToken(error) }
    }
}

impl From<Misconfiguration> for Rejection {
    fn from(mistake: Misconfiguration) -> Self {
        Self::Misconfigured(mistake)
    }
}

/// Writes a list of scopes (RFC 6749 §3.3).
pub(crate) fn spaced(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}
