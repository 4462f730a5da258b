//! The layer that a route is protected with.

use std::sync::Arc;
use std::task::{Context, Poll};

use agentwrit_verify::{Scope, ScopeError, ScopeSet, Verifiers};
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::access_policy::AccessPolicy;
use crate::body::ResponseBody;
use crate::challenge::ChallengeParameterError;
use crate::path::{PathPattern, PathPatternError};
use crate::rejection::{BadRequest, Rejection};
use crate::rejection_options::Renderer;
use crate::requirement::{Custom, Quantifier, Requirement};
use crate::service::{self, ResponseFuture};
use crate::token_source::{TokenSource, TokenSources};

/// A [`Layer`] that lets a request through when its token holds a scope.
///
/// The token is verified by the layer's own [`verifier`](Self::verifier) or, without one, by an outer
/// [`Authenticate`](crate::Authenticate) or `RequireScope`, whose [`Verified`](crate::Verified) claims it takes. With
/// neither it answers 500: a forgotten layer never opens a route.
///
/// # Identifiers from the request
///
/// A scope may have a gap for its identifier, `read:records:{patient_id}`, which the parameter of that name in the
/// request's path fills: axum's, so that the layer must stand where the route is known (`route_layer`, `layer`, on a
/// method), or those of a [`path`](Self::path) given to the layer. It is percent-decoded once, and must be one
/// identifier: what is empty, has a `*`, a control character or anything else that no identifier may have is rejected with
/// 400. A `:` is a character like others: `arn:aws:s3:::logs` is one identifier. A gap without its parameter is a mistake in the program: 500, and an error in the log that names it. A path with
/// a segment `.` or `..` is rejected with 404: a service that resolves it would serve another path than was judged.
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
    policy: AccessPolicy,
}

/// What to require.
impl RequireScope {
    /// Requires the scope that the literal spells; its identifier may be `{name}`.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let all_data = RequireScope::new("read:data:*");
    /// let this_patient = RequireScope::new("read:records:{patient_id}");
    /// // Checked by the compiler, not at the start:
    /// let checked = RequireScope::from(agentwrit_tower::verify::scope!("read:data:*"));
    /// ```
    ///
    /// # Panics
    ///
    /// When the literal is not a scope, naming it and the caller's line: a mistake in the program text, as a bad path
    /// is to axum. For a scope that comes from elsewhere there is [`try_new`](Self::try_new).
    #[track_caller]
    pub fn new(scope: &str) -> Self {
        built(Self::try_new(scope), scope)
    }

    /// Requires the scope that the text spells; its identifier may be `{name}`.
    ///
    /// # Errors
    ///
    /// [`ScopeError`] when it is not `action:resource:identifier`, or has a brace in it that makes no gap. To mean the
    /// letters, make the layer [`from`](Self::from) a [`Scope`].
    pub fn try_new(scope: &str) -> Result<Self, ScopeError> {
        Requirement::parse(Quantifier::All, &[scope]).map(Self::requiring)
    }

    /// Requires every one of these scopes.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let layer = RequireScope::all_of(["read:records:{patient_id}", "use:api:v2"]);
    /// ```
    ///
    /// # Panics
    ///
    /// When there is none, or as [`new`](Self::new). For scopes from elsewhere make the layer [`from`](Self::from) a
    /// [`ScopeSet`].
    #[track_caller]
    pub fn all_of<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self::several(Quantifier::All, scopes)
    }

    /// Requires one of these scopes: any will do. A rejection's challenge names the first, so put the one first that you
    /// would want a client to ask for.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let layer = RequireScope::any_of(["read:records:{patient_id}", "audit:records:*"]);
    /// ```
    ///
    /// # Panics
    ///
    /// When there is none, or as [`new`](Self::new).
    #[track_caller]
    pub fn any_of<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self::several(Quantifier::Any, scopes)
    }

    /// Requires some scope of the kind `action:resource`, whatever its identifier: for a listing. The handler gets the
    /// identifiers as [`GrantedIdentifiers`](crate::GrantedIdentifiers) and cuts the listing down to them.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let layer = RequireScope::some_of_kind("read:records");
    /// ```
    ///
    /// # Panics
    ///
    /// When it is not `action:resource`.
    #[track_caller]
    pub fn some_of_kind(kind: &str) -> Self {
        built(Requirement::some_of_kind(kind).map(Self::requiring), kind)
    }

    /// Requires another scope for each method. A method that isn't listed is rejected with 405, after the token was
    /// verified; `HEAD` counts as `GET` unless it is listed itself.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// use http::Method;
    ///
    /// let layer = RequireScope::by_method([
    ///     (Method::GET, "read:records:{patient_id}"),
    ///     (Method::PUT, "write:records:{patient_id}"),
    /// ]);
    /// ```
    ///
    /// # Panics
    ///
    /// When there is none, a method is listed twice, or as [`new`](Self::new).
    #[track_caller]
    pub fn by_method<S: AsRef<str>>(scopes: impl IntoIterator<Item = (Method, S)>) -> Self {
        let mut methods: Vec<(Method, Requirement)> = Vec::new();
        for (method, scope) in scopes {
            let scope = scope.as_ref();
            assert!(methods.iter().all(|(listed, _)| *listed != method), "`{method}` is listed twice");
            methods.push((method, built(Requirement::parse(Quantifier::All, &[scope]), scope)));
        }
        assert!(!methods.is_empty(), "at least one method is needed");
        Self::requiring(Requirement::ByMethod(methods.into()))
    }

    /// Requires all the scopes that the closure reads out of the request's head. It is asked after the token was
    /// verified. When it can't tell, the request is rejected with 400 and its words.
    ///
    /// ```
    /// use agentwrit_tower::{RequireScope, BadRequest, verify::ScopeSet};
    ///
    /// let layer = RequireScope::from_request(|head| {
    ///     let tenant = head.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok());
    ///     let tenant = tenant.ok_or_else(|| BadRequest::new("the x-tenant header is missing"))?;
    ///     ScopeSet::parse([format!("use:tenant:{tenant}")]).map_err(|_| BadRequest::new("no such tenant"))
    /// });
    /// ```
    ///
    /// Mind that a value of the request can be `*`: a scope made of it is then the wildcard, which only a holder of the
    /// wildcard passes. [`ScopeTemplate`](crate::verify::ScopeTemplate) rejects it. Where action or resource come from the
    /// request too, make the scope with [`Scope::from_parts`]: in one text their colons would shift the parts.
    pub fn from_request(scopes: impl Fn(&Parts) -> Result<ScopeSet, BadRequest> + Send + Sync + 'static) -> Self {
        Self::requiring(Requirement::FromRequest(Custom(Arc::new(scopes))))
    }

    #[track_caller]
    fn several<S: AsRef<str>>(quantifier: Quantifier, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes: Vec<S> = scopes.into_iter().collect();
        assert!(!scopes.is_empty(), "at least one scope is needed: none would let every token pass");
        let text = scopes.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        built(Requirement::parse(quantifier, &scopes).map(Self::requiring), &text)
    }

    fn requiring(requirement: Requirement) -> Self {
        Self { policy: AccessPolicy { requirement: Some(requirement), ..AccessPolicy::default() } }
    }
}

/// How to find it out.
impl RequireScope {
    /// Verifies tokens here, with this verifier or with one for each of several issuers, and believes no outer layer.
    pub fn verifier(mut self, verifier: impl Into<Verifiers>) -> Self {
        self.policy.verifier = Some(verifier.into());
        self
    }

    /// Takes the identifiers from a path of this pattern: for services that no axum router stands before. The syntax is
    /// axum's, the path the one that the layer sees: under a nest, without the prefix. A path of another form is rejected
    /// with 404, whether the scope has a gap or not.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let layer = RequireScope::new("read:records:{patient_id}").path("/patients/{patient_id}/records");
    /// ```
    ///
    /// # Panics
    ///
    /// When it is no pattern, or doesn't have a parameter that a scope of this layer names just once. For a pattern that comes from
    /// elsewhere there is [`try_path`](Self::try_path).
    #[track_caller]
    #[expect(clippy::panic, reason = "documented: a bad literal stops the program where it is written")]
    pub fn path(self, pattern: &str) -> Self {
        match self.try_path(pattern) {
            Ok(layer) => layer,
            Err(error) => panic!("invalid path `{pattern}`: {error}"),
        }
    }

    /// As [`path`](Self::path), for a pattern that isn't a literal.
    ///
    /// # Errors
    ///
    /// [`PathPatternError`] when it is no pattern, or doesn't have a parameter that a scope of this layer names just once.
    pub fn try_path(mut self, pattern: &str) -> Result<Self, PathPatternError> {
        let pattern = PathPattern::parse(pattern)?;
        let named = self.policy.requirement.as_ref().map(Requirement::parameters).unwrap_or_default();
        named.into_iter().try_for_each(|parameter| pattern.check(parameter))?;
        self.policy.path = Some(pattern);
        Ok(self)
    }

    /// Where its own [`verifier`](Self::verifier) looks for the token: see
    /// [`Authenticate::token_source`](crate::Authenticate::token_source).
    pub fn token_source(self, source: TokenSource) -> Self {
        self.token_sources([source])
    }

    /// Where its own [`verifier`](Self::verifier) looks for the token: see
    /// [`Authenticate::token_sources`](crate::Authenticate::token_sources).
    pub fn token_sources(mut self, sources: impl IntoIterator<Item = TokenSource>) -> Self {
        self.policy.sources = TokenSources::new(sources);
        self
    }

    /// Renders rejections, those beneath too: see [`Authenticate::on_rejection`](crate::Authenticate::on_rejection), whose
    /// closure this layer takes when it has none of its own.
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
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let metadata = "https://api.example/.well-known/oauth-protected-resource";
    /// let layer = RequireScope::new("read:data:*").challenge_parameter("resource_metadata", metadata);
    /// ```
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

    /// Leaves the claims in the response's extensions too: see
    /// [`Authenticate::claims_in_responses`](crate::Authenticate::claims_in_responses).
    pub fn claims_in_responses(mut self) -> Self {
        self.policy.claims_in_responses = true;
        self
    }
}

impl From<Scope> for RequireScope {
    /// This scope, to the letter.
    fn from(scope: Scope) -> Self {
        Self::requiring(Requirement::all([scope]))
    }
}

impl From<ScopeSet> for RequireScope {
    /// All of these scopes, to the letter.
    fn from(scopes: ScopeSet) -> Self {
        Self::requiring(Requirement::all(scopes.iter().cloned()))
    }
}

impl<S> Layer<S> for RequireScope {
    type Service = RequireScopeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireScopeService { policy: Arc::new(self.policy.clone()), inner }
    }
}

/// Service that [`RequireScope`] puts around another.
///
/// It is ready when the inner service is. A rejection leaves the inner service's readiness unspent, for the next request.
/// The body of a rejected request is drained in a task of its own, up to 8 MiB and for up to 5 seconds, so that a client
/// that is still sending receives the rejection and not a connection reset (RFC 9112 §9.6).
#[derive(Clone, Debug)]
pub struct RequireScopeService<S> {
    policy: Arc<AccessPolicy>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for RequireScopeService<S>
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

#[track_caller]
#[expect(clippy::panic, reason = "documented: a bad literal stops the program where it is written")]
fn built<T>(result: Result<T, ScopeError>, text: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("invalid scope `{text}`: {error}"),
    }
}
