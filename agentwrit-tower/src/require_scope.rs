//! The layer that a route is protected with.

use std::sync::Arc;

use agentwrit_verify::scope::Part;
use agentwrit_verify::{Scope, ScopeError, Verifiers};
use tower_layer::Layer;

use crate::gate::{Gate, Requirement};
use crate::service::Guarded;

/// A [`Layer`] that lets a request through when its token holds a scope.
///
/// The token is verified by the layer's own [`verifier`](Self::verifier) or, without one, by an outer
/// [`Authenticate`](crate::Authenticate) or `RequireScope`, whose [`Verified`](crate::Verified) claims it takes. With
/// neither it answers 500: a forgotten layer never opens a route.
///
/// # Example
///
/// ```
/// use agentwrit_tower::RequireScope;
/// use agentwrit_tower::verify::testing::TestIssuer;
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode, header::AUTHORIZATION};
/// use http_body_util::Full;
/// use tower::{BoxError, ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let issuer = TestIssuer::new();
/// let service = ServiceBuilder::new()
///     .layer(RequireScope::new("read:data:*").verifier(issuer.verifier()))
///     .service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("data"))) });
///
/// let bearer = format!("Bearer {}", issuer.token(&["read:data:*"]));
/// let request = Request::get("/data").header(AUTHORIZATION, bearer).body(Full::default())?;
/// assert_eq!(service.clone().oneshot(request).await?.status(), StatusCode::OK);
///
/// let request = Request::get("/data").body(Full::default())?;
/// assert_eq!(service.oneshot(request).await?.status(), StatusCode::UNAUTHORIZED);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer protects nothing until it is applied"]
pub struct RequireScope {
    gate: Gate,
}

impl RequireScope {
    /// Requires the scope that the literal spells.
    ///
    /// # Panics
    ///
    /// When the literal is not a scope, naming it and the caller's line: a mistake in the program text, as a bad path
    /// is to axum. For a scope that comes from elsewhere there is [`try_new`](Self::try_new).
    #[track_caller]
    #[expect(clippy::panic, reason = "documented: a bad literal stops the program where it is written")]
    pub fn new(scope: &str) -> Self {
        match Self::try_new(scope) {
            Ok(layer) => layer,
            Err(error) => panic!("invalid scope `{scope}`: {error}"),
        }
    }

    /// Requires the scope that the text spells.
    ///
    /// # Errors
    ///
    /// [`ScopeError`] when it is not `action:resource:identifier`, or has a brace in it. A scope may have one, but
    /// whoever writes `{patient_id}` here means the patient of the request, which this layer does not know yet: refused,
    /// rather than matched to the letter. To mean the letters, make the layer [`from`](Self::from) a [`Scope`].
    pub fn try_new(scope: &str) -> Result<Self, ScopeError> {
        let scope = Scope::parse(scope)?;
        match first_brace(&scope) {
            Some((part, character)) => Err(ScopeError::ForbiddenCharacter { part, character }),
            None => Ok(Self::from(scope)),
        }
    }

    /// Verifies tokens here, with this verifier or one for each of several issuers, and believes no outer layer.
    pub fn verifier(mut self, verifier: impl Into<Verifiers>) -> Self {
        self.gate.verifier = Some(verifier.into());
        self
    }
}

impl From<Scope> for RequireScope {
    fn from(scope: Scope) -> Self {
        Self { gate: Gate { verifier: None, requirement: Some(Requirement::Scope(scope)) } }
    }
}

impl<S> Layer<S> for RequireScope {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded::new(Arc::new(self.gate.clone()), inner)
    }
}

fn first_brace(scope: &Scope) -> Option<(Part, char)> {
    let parts =
        [(Part::Action, scope.action()), (Part::Resource, scope.resource()), (Part::Identifier, scope.identifier())];
    parts.into_iter().find_map(|(part, text)| Some((part, text.chars().find(|c| matches!(c, '{' | '}'))?)))
}
