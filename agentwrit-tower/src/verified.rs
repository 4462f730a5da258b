//! Proof that a request's token was verified.

use std::ops::Deref;
use std::sync::Arc;

use agentwrit_verify::{Claims, VerifiedToken, VerifyError};

/// Claims of the request's token, verified by an outer layer.
///
/// A layer inserts it into the request's extensions; with the `axum` feature it is an extractor too. Only the layers
/// create it, so its existence proves the verification.
///
/// ```
/// use agentwrit_tower::Verified;
///
/// async fn whoami(caller: Verified) -> String {
///     format!("{} may {}", caller.subject(), caller.scopes())
/// }
/// ```
///
/// [`Claims::permit`] is for scopes that only the handler can determine:
///
/// ```
/// use agentwrit_tower::{Verified, verify::{NotPermitted, Permit, Scope}};
///
/// fn sign_off(permit: &Permit) { /* cannot be called without a check */ }
///
/// fn handle(caller: &Verified, required: &Scope) -> Result<(), NotPermitted> {
///     sign_off(&caller.permit(required)?);
///     Ok(())
/// }
/// ```
///
/// ```compile_fail
/// fn forge(claims: std::sync::Arc<agentwrit_tower::verify::Claims>) -> agentwrit_tower::Verified {
///     agentwrit_tower::Verified(claims)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Verified {
    token: VerifiedToken,
}

impl Verified {
    pub(crate) fn new(token: VerifiedToken) -> Self {
        Self { token }
    }

    /// Returns the claims, shared: for work that outlives the request.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        self.token.claims()
    }

    /// Checks the token again, by the verifier that verified it: for work that goes on after the response has begun,
    /// such as each message of a WebSocket. With the `long-responses` feature, `ended` waits until this check fails.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] when the token has expired, was revoked, or cannot be verified at present: see
    /// [`VerifiedToken::recheck`].
    pub fn recheck(&self) -> Result<(), VerifyError> {
        self.token.recheck()
    }

    /// Returns the token, to be checked again.
    #[must_use]
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }
}

impl PartialEq for Verified {
    fn eq(&self, other: &Self) -> bool {
        self.claims() == other.claims()
    }
}

impl Eq for Verified {}

impl Deref for Verified {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        self.claims()
    }
}

/// In the extensions of a request that an optional [`Authenticate`](crate::Authenticate) passed without a token.
#[derive(Clone, Debug)]
pub(crate) struct Unauthenticated;
