//! Proof of a check within a handler.

use crate::{
    claims::Claims,
    identity::{Subject, TokenId},
    scope::Scope,
};

/// The proof that a token was found to grant a scope: only [`Claims::permit`] makes one.
///
/// A function that must not run unchecked takes it as an argument; the call without a check does not compile. It says
/// what was granted at the moment of the check: use it at once, don't keep it.
///
/// ```
/// use agentwrit_verify::{Permit, Scope, testing::TestIssuer};
///
/// /// Whoever calls this has checked `write:prescriptions:<patient>`.
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
    /// What was asked for and is granted.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// To whom.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// By which token.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        self.token_id
    }
}

/// The token does not grant the scope that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token does not grant `{wanted}`")]
#[non_exhaustive]
pub struct NotPermitted {
    /// What was asked for.
    pub wanted: Scope,
}

impl Claims {
    /// Whether the token grants this scope, for a check within a handler: the [`Permit`] proves it.
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
