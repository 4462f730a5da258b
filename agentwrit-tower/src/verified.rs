//! The proof that a request's token was verified.

use std::ops::Deref;
use std::sync::Arc;

use agentwrit_verify::Claims;

/// The claims of the token that came with this request, verified by a layer around it.
///
/// A layer leaves it in the request's extensions; with the `axum` feature it is an extractor too. Nothing else can make
/// one, so whoever holds it need not ask where it came from.
///
/// ```
/// use agentwrit_tower::Verified;
///
/// async fn whoami(who: Verified) -> String {
///     format!("{} may {}", who.subject(), who.scopes().iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "))
/// }
/// ```
///
/// ```compile_fail
/// fn forge(claims: std::sync::Arc<agentwrit_tower::verify::Claims>) -> agentwrit_tower::Verified {
///     agentwrit_tower::Verified(claims)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified(Arc<Claims>);

impl Verified {
    pub(crate) fn new(claims: Arc<Claims>) -> Self {
        Self(claims)
    }

    /// The claims, shared: for work that outlives the request.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.0
    }
}

impl Deref for Verified {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.0
    }
}
