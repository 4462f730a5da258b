//! Layer that verifies a request's token once, for every route beneath it.

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

/// [`Layer`] that passes requests with a valid token, and inserts the [`Verified`](crate::Verified) claims into their
/// extensions for each [`RequireScope`](crate::RequireScope) and handler beneath.
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
    pub(crate) policy: AccessPolicy,
}

impl Authenticate {
    /// Verifies tokens with one verifier, or with one for each of several issuers. Rejects requests without a token.
    pub fn new(verifier: impl Into<Verifiers>) -> Self {
        Self { policy: AccessPolicy { verifier: Some(verifier.into()), ..AccessPolicy::default() } }
    }

    /// Works like [`new`](Self::new), but passes requests without a token, without claims: a handler may extract
    /// `Option<Verified>`. An invalid token is rejected all the same, and a [`RequireScope`](crate::RequireScope)
    /// beneath rejects requests without a token with 401.
    ///
    /// ```
    /// use agentwrit_tower::{Authenticate, Verified, verify::Verifier};
    /// use axum::{Router, routing::get};
    ///
    /// async fn greet(caller: Option<Verified>) -> String {
    ///     caller.map_or_else(|| "hello".to_owned(), |caller| format!("hello, {}", caller.subject()))
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

    /// Takes the token from this source instead of the `Authorization` header.
    pub fn token_source(self, source: TokenSource) -> Self {
        self.token_sources([source])
    }

    /// Takes the token from one of these sources. A request with a token in more than one is rejected with 400.
    pub fn token_sources(mut self, sources: impl IntoIterator<Item = TokenSource>) -> Self {
        self.policy.sources = TokenSources::new(sources);
        self
    }

    /// Renders rejections, those of this layer and of the layers and extractors beneath that have no closure of their
    /// own.
    ///
    /// The closure makes body and headers. Status, `WWW-Authenticate`, `Retry-After`, `Allow`, `Cache-Control` and the
    /// other headers of a rejection are set after it has run, so it cannot turn a rejection into a success. It can add
    /// parameters to the challenge: [`ChallengeParameters`](crate::ChallengeParameters) in the extensions of its
    /// response. It is not called for gRPC requests, whose rejections have no body.
    ///
    /// ```
    /// use agentwrit_tower::{Authenticate, verify::Verifier};
    /// use http::{Request, Response};
    ///
    /// fn layer(verifier: Verifier) -> Authenticate {
    ///     Authenticate::new(verifier).on_rejection(|rejection, head| {
    ///         Response::new(format!("<p>{}: {}</p>", head.uri.path(), rejection.reason()))
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

    /// Adds a parameter to every challenge, those of the layers and extractors beneath included: for example
    /// `resource_metadata`, the URL of the protected resource's metadata (RFC 9728 §5.1). An inner layer's parameter
    /// replaces an outer layer's of the same name.
    ///
    /// # Panics
    ///
    /// Panics when a challenge cannot have the parameter; [`try_challenge_parameter`](Self::try_challenge_parameter)
    /// returns an error instead.
    #[track_caller]
    #[expect(clippy::panic, reason = "documented: a bad literal stops the program where it is written")]
    pub fn challenge_parameter(self, name: &str, value: &str) -> Self {
        match self.try_challenge_parameter(name, value) {
            Ok(layer) => layer,
            Err(error) => panic!("invalid challenge parameter: {error}"),
        }
    }

    /// Fallible form of [`challenge_parameter`](Self::challenge_parameter), for a value that is not a literal.
    ///
    /// # Errors
    ///
    /// [`ChallengeParameterError`] when a challenge cannot have the parameter.
    pub fn try_challenge_parameter(mut self, name: &str, value: &str) -> Result<Self, ChallengeParameterError> {
        self.policy.rejection_options.add_challenge_parameter(name, value)?;
        Ok(self)
    }

    /// Inserts the [`Verified`](crate::Verified) claims into the extensions of the response too, so that an outer
    /// access log can record the agent and the `jti`. (The response of a rejection has its [`Rejection`] there in any
    /// case.)
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
/// It is ready when the inner service is. A rejection leaves the inner service's readiness unspent, for the next
/// request. The body of a rejected request is drained in a task of its own, up to 8 MiB and for up to 5 seconds, so
/// that a client that is still sending receives the rejection and not a connection reset (RFC 9112 §9.6).
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
