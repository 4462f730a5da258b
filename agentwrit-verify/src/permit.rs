//! Proof of a check within a handler.

use crate::{
    claims::Claims,
    identity::{Subject, TokenId},
    scope::Scope,
};

/// Proof that a token grants a scope: only [`Claims::permit`] creates one.
///
/// A function that requires the check takes it as an argument; the call without a check does not compile. It proves the
/// grant at the time of the check: use it at once, do not store it.
///
/// ```
/// use agentwrit_verify::{Permit, Scope, testing::TestIssuer};
///
/// /// Requires `write:prescriptions:<patient>`.
/// fn prescribe(permit: &Permit, drug: &str) -> String {
///     format!("{drug} for {} by {}", permit.scope().identifier(), permit.subject())
/// }
///
/// let issuer = TestIssuer::new();
/// let claims = issuer.verifier().verify(&issuer.token(&["write:prescriptions:P-7"]))?;
/// let permit = claims.permit(&Scope::parse("write:prescriptions:P-7")?)?;
/// assert!(prescribe(&permit, "aspirin").starts_with("aspirin for P-7 by spiffe://"));
/// assert!(claims.permit(&Scope::parse("write:prescriptions:P-8")?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```compile_fail
/// fn forge(scope: agentwrit_verify::Scope) -> agentwrit_verify::Permit {
///     agentwrit_verify::Permit { scope }
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    scope: Scope,
    subject: Subject,
    token_id: TokenId,
}

impl Permit {
    /// Returns the granted scope.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the subject of the token.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the id of the token.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        self.token_id
    }
}

/// Error of a token that does not grant the requested scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token does not grant `{wanted}`")]
#[non_exhaustive]
pub struct NotPermitted {
    /// Requested scope.
    pub wanted: Scope,
}

impl Claims {
    /// Checks that the token grants this scope, within a handler: the [`Permit`] proves it.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`] when no scope of the token covers it.
    pub fn permit(&self, wanted: &Scope) -> Result<Permit, NotPermitted> {
        if !self.scopes().cover(wanted) {
            return Err(NotPermitted { wanted: wanted.clone() });
        }
        Ok(Permit { scope: wanted.clone(), subject: self.subject().clone(), token_id: self.token_id() })
    }
}
