//! The layer that verifies a request's token once, for every route beneath it.

use std::sync::Arc;
use std::task::{Context, Poll};

use agentwrit_verify::Verifiers;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::access_policy::AccessPolicy;
use crate::body::ResponseBody;
use crate::challenge::ChallengeParameterError;
use crate::rejection::Rejection;
use crate::rejection_options::Renderer;
use crate::service::{self, ResponseFuture};
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
    policy: AccessPolicy,
}

impl Authenticate {
    /// Verifies with this verifier, or with one for each of several issuers. A request without a token is rejected.
    pub fn new(verifier: impl Into<Verifiers>) -> Self {
        Self { policy: AccessPolicy { verifier: Some(verifier.into()), ..AccessPolicy::default() } }
    }

    /// As [`new`](Self::new), but a request without a token passes, without claims: a handler may ask for
    /// `Option<Verified>`. A token that is there and is bad is rejected all the same, and a
    /// [`RequireScope`](crate::RequireScope) beneath rejects whoever has none with 401.
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
        Self { policy: AccessPolicy { optional: true, ..Self::new(verifier).policy } }
    }

    /// Looks for the token here, and no longer in the `Authorization` header.
    pub fn token_source(self, source: TokenSource) -> Self {
        self.token_sources([source])
    }

    /// Looks for the token in all these places. A request that has something in more than one is rejected with 400.
    pub fn token_sources(mut self, sources: impl IntoIterator<Item = TokenSource>) -> Self {
        self.policy.sources = TokenSources::new(sources);
        self
    }

    /// Renders rejections, its own and those of the layers and extractors beneath that have no such closure themselves.
    ///
    /// Body and headers are the closure's. Status, `WWW-Authenticate`, `Retry-After`, `Allow`, `Cache-Control` and the
    /// other headers of a rejection are set after it has run: it can't open what is shut. It can add parameters to the
    /// challenge: [`ChallengeParameters`](crate::ChallengeParameters) in the extensions of its response. It isn't asked
    /// about gRPC requests, whose rejections have no body.
    ///
    /// ```
    /// use agentwrit_tower::{Authenticate, verify::Verifier};
    /// use http::{Request, Response};
    ///
    /// fn layer(verifier: Verifier) -> Authenticate {
    ///     Authenticate::new(verifier).on_rejection(|rejection, head| {
    ///         Response::new(format!("<p>{} says no: {}</p>", head.uri.path(), rejection.reason()))
    ///     })
    /// }
    /// # layer(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
    /// ```
    pub fn on_rejection<R: Into<Bytes>>(
        mut self,
        render: impl Fn(&Rejection, &Parts) -> Response<R> + Send + Sync + 'static,
    ) -> Self {
        self.policy.rejection_options.renderer = Some(Renderer::new(render));
        self
    }

    /// Adds a parameter to the challenge of each rejection that has one, for the layers and extractors beneath too: as
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
        self.policy.rejection_options.add_challenge_parameter(name, value)?;
        Ok(self)
    }

    /// Leaves the [`Verified`](crate::Verified) claims in the extensions of the response too, where an access log outside
    /// finds the agent and the `jti`. (A rejected response has its [`Rejection`] there in any case.)
    pub fn claims_in_responses(mut self) -> Self {
        self.policy.claims_in_responses = true;
        self
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = AuthenticateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthenticateService { policy: Arc::new(self.policy.clone()), inner }
    }
}

/// Service that [`Authenticate`] puts around another.
///
/// It is ready when the inner service is. A rejection leaves the inner service's readiness unspent, for the next request.
/// The body of a rejected request is drained in a task of its own, up to 8 MiB and for up to 5 seconds, so that a client
/// that is still sending receives the rejection and not a connection reset (RFC 9112 §9.6).
#[derive(Clone, Debug)]
pub struct AuthenticateService<S> {
    policy: Arc<AccessPolicy>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for AuthenticateService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        service::call(&self.policy, &mut self.inner, request)
    }
}
