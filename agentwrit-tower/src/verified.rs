//! The proof that a request's token was verified.

use std::ops::Deref;
use std::sync::Arc;

use agentwrit_verify::{Claims, VerifiedToken, VerifyError};

use crate::rejection_options::RejectionOptions;

/// The claims of the token that came with this request, verified by a layer around it.
///
/// A layer leaves it in the request's extensions; with the `axum` feature it is an extractor too. Nothing else can make
/// one, so whoever holds it need not ask where it came from.
///
/// ```
/// use agentwrit_tower::Verified;
///
/// async fn whoami(who: Verified) -> String {
///     format!("{} may {}", who.subject(), who.scopes())
/// }
/// ```
///
/// For a check that only the handler can make there is [`Claims::permit`]:
///
/// ```
/// use agentwrit_tower::{Verified, verify::{NotPermitted, Permit, Scope}};
///
/// fn sign_off(permit: &Permit) { /* only whoever was checked gets here */ }
///
/// fn handle(who: &Verified, wanted: &Scope) -> Result<(), NotPermitted> {
///     sign_off(&who.permit(wanted)?);
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
    rejection_options: RejectionOptions,
}

impl Verified {
    pub(crate) fn new(token: VerifiedToken, rejection_options: RejectionOptions) -> Self {
        Self { token, rejection_options }
    }

    /// The claims, shared: for work that outlives the request.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        self.token.claims()
    }

    /// Judges the token again, by the verifier that verified it: for work that goes on after the response has begun, as
    /// before each message of a WebSocket. With the `long-responses` feature `ended` waits for it.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] when the token has expired, was revoked, or can't be judged at present: see
    /// [`VerifiedToken::recheck`].
    pub fn recheck(&self) -> Result<(), VerifyError> {
        self.token.recheck()
    }

    /// The token, to be judged again.
    #[cfg(feature = "long-responses")]
    pub(crate) fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// How the layers around have rejections presented, the inner ones first.
    pub(crate) fn rejection_options(&self) -> &RejectionOptions {
        &self.rejection_options
    }

    pub(crate) fn set_rejection_options(&mut self, rejection_options: RejectionOptions) {
        self.rejection_options = rejection_options;
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

/// In the extensions of a request that an optional [`Authenticate`](crate::Authenticate) let through without a token.
#[derive(Clone, Debug)]
pub(crate) struct Unauthenticated {
    pub(crate) rejection_options: RejectionOptions,
}
