//! Scope checks within a handler, with the rejections of a layer.

use std::fmt;

use agentwrit_verify::{Permit, Scope};
use axum_core::extract::FromRequestParts;
use http::Request;
use http::request::Parts;

use crate::extract::{RejectionResponse, claims};
use crate::rejection::{MissingScope, Rejection};
use crate::verified::Verified;

/// axum extractor for scopes that only the handler can determine, for example from a record that it has loaded: `?` on
/// [`permit`](Self::permit) gives the [`Permit`], or rejects like [`RequireScope`](crate::RequireScope).
///
/// ```
/// use agentwrit_tower::{Permits, RejectionResponse, verify::{Permit, Scope}};
/// # struct Record { patient: String }
/// # async fn load() -> Record { Record { patient: "P-7".into() } }
///
/// async fn handler(permits: Permits) -> Result<String, RejectionResponse> {
///     let record = load().await;
///     let wanted = Scope::parse(&format!("write:notes:{}", record.patient)).expect("patient ids are identifiers");
///     Ok(write_note(&permits.permit(&wanted)?))
/// }
///
/// /// Cannot be called without a check.
/// fn write_note(permit: &Permit) -> String {
///     format!("noted by {}", permit.subject())
/// }
/// # use axum::{Router, routing::post};
/// # let _: Router = Router::new().route("/notes", post(handler));
/// ```
pub struct Permits {
    verified: Verified,
    /// The request's head without its credentials, for rendering a rejection.
    head: Box<Parts>,
}

impl Permits {
    /// Returns the proof that the token grants this scope.
    ///
    /// # Errors
    ///
    /// [`RejectionResponse`], the 403 of a layer that requires this scope.
    pub fn permit(&self, wanted: &Scope) -> Result<Permit, RejectionResponse> {
        self.verified.permit(wanted).map_err(|rejected| {
            let rejection = Rejection::InsufficientScope {
                required: vec![rejected.wanted.clone()],
                missing: MissingScope::All(vec![rejected.wanted]),
                verified: self.verified.clone(),
            };
            RejectionResponse::new(rejection, &self.head)
        })
    }

    /// Returns the claims.
    #[must_use]
    pub fn verified(&self) -> &Verified {
        &self.verified
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").field("verified", &self.verified).finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Permits {
    type Rejection = RejectionResponse;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, RejectionResponse> {
        match claims(head) {
            Ok(verified) => Ok(Self { verified: verified.clone(), head: Box::new(without_credentials(head)) }),
            Err(rejection) => Err(RejectionResponse::new(rejection, head)),
        }
    }
}

fn without_credentials(head: &Parts) -> Parts {
    let mut shown = Request::new(()).into_parts().0;
    shown.method = head.method.clone();
    shown.uri = head.uri.clone();
    shown.version = head.version;
    shown.extensions = head.extensions.clone();
    let headers = head.headers.iter().filter(|(_, value)| !value.is_sensitive());
    shown.headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    shown
}
