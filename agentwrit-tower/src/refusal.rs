//! Why a request went no further.

use agentwrit_verify::{Scope, Subject, TokenId, VerifyError};

use crate::verified::Verified;

/// Why a request went no further: the true reason, for logs and audit.
///
/// Every response that these layers make holds it in its extensions, where a layer outside finds it. The body and the
/// headers tell the client less.
///
/// ```
/// use agentwrit_tower::{NoToken, Refusal};
/// use http::Response;
///
/// fn audit<B>(response: &Response<B>) {
///     if let Some(refusal) = response.extensions().get::<Refusal>() {
///         println!("refused: {}, subject {:?}", refusal.reason(), refusal.subject());
///     }
/// }
/// # let mut response = Response::new(());
/// # response.extensions_mut().insert(Refusal::NoToken(NoToken::Missing));
/// # audit(&response);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No token was presented: 401.
    #[error("no bearer token was presented")]
    NoToken(#[source] NoToken),

    /// The token is not valid: 401.
    #[error("the token is not valid")]
    InvalidToken(#[source] VerifyError),

    /// Nobody's token can be judged at present, the verifier's keys or revocations are missing or stale: 503.
    #[error("tokens cannot be verified at present")]
    Unavailable(#[source] VerifyError),

    /// The token is valid and grants too little: 403.
    #[error("the token lacks the required scope `{}`", spaced(required))]
    #[non_exhaustive]
    InsufficientScope {
        /// What the route requires, as the challenge names it.
        required: Vec<Scope>,
        /// Whose token it is, and what it grants.
        verified: Verified,
    },

    /// A [`RequireScope`](crate::RequireScope) without a verifier stands under no layer that has one: 500.
    #[error("no verifier here and no `Authenticate` layer around it")]
    MissingLayer,
}

/// Why a request counts as one without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoToken {
    /// There is no `Authorization` header.
    #[error("there is no authorization header")]
    Missing,
    /// It is not `Bearer <token>`.
    #[error("the authorization header is not `Bearer <token>`")]
    Malformed,
    /// There are several.
    #[error("there is more than one authorization header")]
    Repeated,
}

impl Refusal {
    /// The reason in `snake_case`: one of a small fixed set, fit for a metric's label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoToken(NoToken::Missing) => "no_token",
            Self::NoToken(NoToken::Malformed) => "malformed_authorization",
            Self::NoToken(NoToken::Repeated) => "repeated_authorization",
            Self::InvalidToken(error) | Self::Unavailable(error) => error.reason(),
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::MissingLayer => "missing_layer",
        }
    }

    /// Whose token it was. Known when the signature held: of a forged token nothing can be told.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::InsufficientScope { verified, .. } => Some(verified.subject()),
            Self::InvalidToken(error) | Self::Unavailable(error) => error.subject(),
            Self::NoToken(_) | Self::MissingLayer => None,
        }
    }

    /// The `jti` of the token; known when its [subject](Self::subject) is.
    #[must_use]
    pub fn token_id(&self) -> Option<TokenId> {
        match self {
            Self::InsufficientScope { verified, .. } => Some(verified.token_id()),
            Self::InvalidToken(error) | Self::Unavailable(error) => error.token_id(),
            Self::NoToken(_) | Self::MissingLayer => None,
        }
    }
}

impl From<NoToken> for Refusal {
    fn from(reason: NoToken) -> Self {
        Self::NoToken(reason)
    }
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        if error.is_unavailable() { Self::Unavailable(error) } else { Self::InvalidToken(error) }
    }
}

/// As RFC 6749 §3.3 writes a list of scopes.
pub(crate) fn spaced(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}
