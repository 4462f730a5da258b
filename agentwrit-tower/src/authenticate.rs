//! The layer that verifies a request's token once, for every route beneath it.

use std::sync::Arc;

use agentwrit_verify::Verifiers;
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tower_layer::Layer;

use crate::challenge::ChallengeParameterError;
use crate::gate::Gate;
use crate::presentation::Renderer;
use crate::refusal::Refusal;
use crate::service::Guarded;
use crate::token_source::{TokenSource, TokenSources};

/// A [`Layer`] that lets a request through when it carries a valid token, and leaves the [`Verified`](crate::Verified)
/// claims in its extensions for each [`RequireScope`](crate::RequireScope) and handler beneath.
///
/// # Example
///
/// ```
/// use agentwrit_tower::{Authenticate, RequireScope, verify::Verifier};
/// use axum::{Router, routing::{get, put}};
///
/// fn app(verifier: Verifier) -> Router {
///     Router::new()
///         .route("/data", get(|| async { "read" }).layer(RequireScope::new("read:data:*")))
///         .route("/data/new", put(|| async { "written" }).layer(RequireScope::new("write:data:*")))
///         .layer(Authenticate::new(verifier))
/// }
/// # app(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer protects nothing until it is applied"]
pub struct Authenticate {
    gate: Gate,
}

impl Authenticate {
    /// Verifies with this verifier, or with one for each of several issuers. A request without a token is refused.
    pub fn new(verifier: impl Into<Verifiers>) -> Self {
        Self { gate: Gate { verifier: Some(verifier.into()), ..Gate::default() } }
    }

    /// As [`new`](Self::new), but a request without a token passes, without claims: a handler may ask for
    /// `Option<Verified>`. A token that is there and is bad is refused all the same, and a
    /// [`RequireScope`](crate::RequireScope) beneath refuses whoever has none with 401.
    ///
    /// ```
    /// use agentwrit_tower::{Authenticate, Verified, verify::Verifier};
    /// use axum::{Router, routing::get};
    ///
    /// async fn greet(who: Option<Verified>) -> String {
    ///     who.map_or_else(|| "hello, stranger".to_owned(), |who| format!("hello, {}", who.subject()))
    /// }
    ///
    /// fn app(verifier: Verifier) -> Router {
    ///     Router::new().route("/", get(greet)).layer(Authenticate::optional(verifier))
    /// }
    /// # app(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
    /// ```
    pub fn optional(verifier: impl Into<Verifiers>) -> Self {
        Self { gate: Gate { optional: true, ..Self::new(verifier).gate } }
    }

    /// Looks for the token here, and no longer in the `Authorization` header.
    pub fn token_source(self, source: TokenSource) -> Self {
        self.token_sources([source])
    }

    /// Looks for the token in all these places. A request that has something in more than one is refused with 400.
    pub fn token_sources(mut self, sources: impl IntoIterator<Item = TokenSource>) -> Self {
        self.gate.sources = TokenSources::new(sources);
        self
    }

    /// Renders refusals, its own and those of the layers and extractors beneath that have no such closure themselves.
    ///
    /// Body and headers are the closure's. Status, `WWW-Authenticate`, `Retry-After`, `Allow`, `Cache-Control` and the
    /// other headers of a refusal are set after it has run: it can't open what is shut. It can add parameters to the
    /// challenge: [`ChallengeParameters`](crate::ChallengeParameters) in the extensions of its response. It isn't asked
    /// about gRPC requests, whose refusals have no body.
    ///
    /// ```
    /// use agentwrit_tower::{Authenticate, verify::Verifier};
    /// use http::Response;
    ///
    /// fn layer(verifier: Verifier) -> Authenticate {
    ///     Authenticate::new(verifier).on_refusal(|refusal, head| {
    ///         Response::new(format!("<p>{} says no: {}</p>", head.uri.path(), refusal.reason()))
    ///     })
    /// }
    /// # layer(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
    /// ```
    pub fn on_refusal<R: Into<Bytes>>(
        mut self,
        render: impl Fn(&Refusal, &Parts) -> Response<R> + Send + Sync + 'static,
    ) -> Self {
        self.gate.presentation.renderer = Some(Renderer::new(render));
        self
    }

    /// Adds a parameter to the challenge of each refusal that has one, for the layers and extractors beneath too: as
    /// `resource_metadata`, which tells a client where it gets a token (RFC 9728 §5.1). An inner layer's parameter replaces an
    /// outer one's of the same name.
    ///
    /// # Panics
    ///
    /// When a challenge can't have the parameter, naming it and the caller's line. For values that come from elsewhere
    /// there is [`try_challenge_parameter`](Self::try_challenge_parameter).
    #[track_caller]
    #[expect(clippy::panic, reason = "documented: a bad literal stops the program where it is written")]
    pub fn challenge_parameter(self, name: &str, value: &str) -> Self {
        match self.try_challenge_parameter(name, value) {
            Ok(layer) => layer,
            Err(error) => panic!("invalid challenge parameter: {error}"),
        }
    }

    /// As [`challenge_parameter`](Self::challenge_parameter), for a value that isn't a literal.
    ///
    /// # Errors
    ///
    /// [`ChallengeParameterError`] says why a challenge can't have the parameter.
    pub fn try_challenge_parameter(mut self, name: &str, value: &str) -> Result<Self, ChallengeParameterError> {
        self.gate.presentation.add_challenge_parameter(name, value)?;
        Ok(self)
    }

    /// Leaves the [`Verified`](crate::Verified) claims in the extensions of the response too, where an access log outside
    /// finds the agent and the `jti`. (A refused response has its [`Refusal`] there in any case.)
    pub fn mark_responses(mut self) -> Self {
        self.gate.mark_responses = true;
        self
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded::new(Arc::new(self.gate.clone()), inner)
    }
}
