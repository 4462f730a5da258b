//! The proof that a request's token was verified.

use std::ops::Deref;
use std::sync::Arc;

use agentwrit_verify::Claims;

use crate::render::Renderer;

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
    claims: Arc<Claims>,
    renderer: Option<Renderer>,
}

impl Verified {
    pub(crate) fn new(claims: Arc<Claims>, renderer: Option<Renderer>) -> Self {
        Self { claims, renderer }
    }

    /// The claims, shared: for work that outlives the request.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// How the innermost layer that has an opinion has refusals rendered.
    pub(crate) fn renderer(&self) -> Option<&Renderer> {
        self.renderer.as_ref()
    }

    pub(crate) fn refuse_in_the_words_of(&mut self, renderer: &Renderer) {
        self.renderer = Some(renderer.clone());
    }
}

impl PartialEq for Verified {
    fn eq(&self, other: &Self) -> bool {
        self.claims == other.claims
    }
}

impl Eq for Verified {}

impl Deref for Verified {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.claims
    }
}

/// In the extensions of a request that an optional [`Authenticate`](crate::Authenticate) let through without a token.
#[derive(Clone, Debug)]
pub(crate) struct Anonymous {
    pub(crate) renderer: Option<Renderer>,
}
