//! Why a request went no further.

use std::borrow::Cow;
use std::fmt;

use agentwrit_verify::{Scope, ScopeError, Subject, TokenId, VerifyError};
use http::Method;

use crate::verified::Verified;

/// Why a request went no further: the true reason, for logs and audit.
///
/// Every response that these layers make holds it in its extensions, where a layer outside finds it. The body and the
/// headers tell the client less.
///
/// ```
/// use agentwrit_tower::{CredentialsError, Rejection};
/// use http::Response;
///
/// fn audit<B>(response: &Response<B>) {
///     if let Some(rejection) = response.extensions().get::<Rejection>() {
///         println!("refused: {}, subject {:?}", rejection.reason(), rejection.subject());
///     }
/// }
/// # let mut response = Response::new(());
/// # response.extensions_mut().insert(Rejection::NoToken(CredentialsError::Missing));
/// # audit(&response);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No token was presented: 401.
    #[error("no bearer token was presented")]
    NoToken(#[source] CredentialsError),

    /// Tokens were presented in more than one [way](crate::TokenSource): 400 (RFC 6750 §2).
    #[error("tokens were presented in more than one way")]
    MultipleTokens,

    /// The token is not valid: 401.
    #[error("the token is not valid")]
    InvalidToken(#[source] VerifyError),

    /// Nobody's token can be judged at present, the verifier's keys or revocations are missing or stale: 503.
    #[error("tokens cannot be verified at present")]
    Unavailable(#[source] VerifyError),

    /// The token is valid and grants too little: 403.
    #[error("{missing}")]
    #[non_exhaustive]
    InsufficientScope {
        /// What a token needs, as the challenge names it.
        required: Vec<Scope>,
        /// What of it the token lacks.
        missing: MissingScope,
        /// Whose token it is, and what it grants.
        verified: Verified,
    },

    /// The token is valid and speaks for no agent, and only agents may do this: 403.
    #[error("only an agent may do this")]
    NotAnAgent(Verified),

    /// What the request puts where an identifier belongs cannot be one: 400.
    #[error("the path's `{parameter}` is not an identifier")]
    #[non_exhaustive]
    BadIdentifier {
        /// The parameter of the path.
        parameter: String,
        /// What is wrong with it.
        #[source]
        cause: IdentifierError,
    },

    /// A requirement of the service's own could not tell from the request which scopes it needs: 400.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),

    /// No scope is named for the request's method: 405.
    #[error("no scope is named for this method")]
    #[non_exhaustive]
    MethodNotAllowed {
        /// The methods for which one is.
        allowed: Vec<Method>,
    },

    /// The path is not of the pattern that the layer was given: 404.
    #[error("the path is not of this route's pattern")]
    UnknownPath,

    /// The service is put together in a way in which nothing can be judged: 500.
    #[error("{0}")]
    Misconfigured(Misconfiguration),
}

/// Why a request counts as one without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// It is not where it is looked for.
    #[error("there is no token")]
    Missing,
    /// The `Authorization` header is not `Bearer <token>`.
    #[error("the authorization header is not `Bearer <token>`")]
    Malformed,
    /// There are several `Authorization` headers.
    #[error("there is more than one authorization header")]
    Repeated,
    /// The cookie, or what a custom source found, has characters that no token has.
    #[error("the cookie or custom source holds no well-formed token")]
    MalformedToken,
    /// There are several cookies of the name.
    #[error("there is more than one cookie of the token's name")]
    RepeatedCookie,
}

/// What a token lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingScope {
    /// All of these, and it might hold others that are required too.
    All(Vec<Scope>),
    /// One of these: any would do.
    OneOf(Vec<Scope>),
    /// Some scope of this kind, whatever its identifier; the kind as its wildcard.
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

/// Why a part of a path is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifierError {
    /// Its bytes, percent-decoded, are not UTF-8.
    #[error("not UTF-8 once percent-decoded")]
    NotUtf8,
    /// No part of a scope may read so.
    #[error(transparent)]
    Scope(#[from] ScopeError),
}

/// What a [requirement of the service's own](crate::RequireScope::from_request) answers when it can't tell from a
/// request which scopes it needs: 400, with this sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadRequest {
    detail: Cow<'static, str>,
}

impl BadRequest {
    /// With one sentence for the client.
    pub fn new(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into() }
    }
}

/// How the service is put together wrongly. Nothing is let through by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misconfiguration {
    /// A [`RequireScope`](crate::RequireScope) without a verifier stands under no layer that has one.
    #[error("no verifier here and no `Authenticate` layer around it")]
    NoVerifier,
    /// A handler wants [`Verified`](crate::Verified) or `Agent` where no layer has verified a token.
    #[error("the handler wants the claims of a token, and no `Authenticate` or `RequireScope` layer is around it")]
    NoClaims,
    /// A handler wants [`GrantedIdentifiers`](crate::GrantedIdentifiers) where no layer requires some scope of a kind.
    #[error("the handler wants `GrantedIdentifiers`, and no `RequireScope::some_of_kind` layer is around it")]
    NoGrantedIdentifiers,
    /// `EndWithToken` stands where no layer has verified a token.
    #[error("`EndWithToken` stands under no `Authenticate` or `RequireScope` layer that verifies")]
    NoTokenToRecheck,
    /// The scope names a parameter that the route's path doesn't have.
    #[error("the scope wants the path parameter `{parameter}`, which the route does not have")]
    #[non_exhaustive]
    NoSuchParameter {
        /// The parameter.
        parameter: String,
    },
    /// The route's path has the parameter twice: which is meant?
    #[error("the scope wants the path parameter `{parameter}`, which the route has more than once")]
    #[non_exhaustive]
    RepeatedParameter {
        /// The parameter.
        parameter: String,
    },
}

impl Rejection {
    /// The reason in `snake_case`: one of a small fixed set, fit for a metric's label.
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
            Self::Misconfigured(Misconfiguration::NoVerifier | Misconfiguration::NoTokenToRecheck) => "missing_layer",
            Self::Misconfigured(Misconfiguration::NoClaims | Misconfiguration::NoGrantedIdentifiers) => {
                "missing_layer_of_handler"
            }
            Self::Misconfigured(Misconfiguration::NoSuchParameter { .. }) => "missing_parameter",
            Self::Misconfigured(Misconfiguration::RepeatedParameter { .. }) => "repeated_parameter",
        }
    }

    /// Whose token it was. Known when the signature held: of a forged token nothing can be told.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self.token() {
            RejectedToken::Valid(verified) => Some(verified.subject()),
            RejectedToken::Invalid(error) => error.subject(),
            RejectedToken::Unknown => None,
        }
    }

    /// The `jti` of the token; known when its [subject](Self::subject) is.
    #[must_use]
    pub fn token_id(&self) -> Option<TokenId> {
        match self.token() {
            RejectedToken::Valid(verified) => Some(verified.token_id()),
            RejectedToken::Invalid(error) => error.token_id(),
            RejectedToken::Unknown => None,
        }
    }

    /// The claims of a valid token that was not enough.
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
            | Self::Misconfigured(_) => RejectedToken::Unknown,
        }
    }
}

/// What is known of the token behind a rejection.
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

/// As RFC 6749 §3.3 writes a list of scopes.
pub(crate) fn spaced(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}
