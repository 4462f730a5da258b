//! Layer that requires a scope for a route.

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
use crate::requirement::{Custom, Quantifier, Requirement, RequirementError};
use crate::service::{self, ResponseFuture};
use crate::token_source::{TokenSource, TokenSources};

/// [`Layer`] that passes requests whose token holds a scope.
///
/// The token is verified by the layer's own [`verifier`](Self::verifier) or, without one, by an outer
/// [`Authenticate`](crate::Authenticate) or `RequireScope`, whose [`Verified`](crate::Verified) claims it takes. With
/// neither it responds 500: a forgotten layer never opens a route.
///
/// # Identifiers from the request
///
/// A scope may have a placeholder for its identifier, `read:records:{patient_id}`, which the parameter of that name in
/// the request's path fills: axum's, so that the layer must be where the route is known (`route_layer`, `layer`, on a
/// method), or that of a [`path`](Self::path) given to the layer. The value is percent-decoded once, and must be one
/// identifier: an empty one, or one with a `*`, a control character or another character that no identifier has, is
/// rejected with 400. A `:` is a character like others: `arn:aws:s3:::logs` is one identifier. A placeholder without
/// its parameter is a mistake in the program: 500, and an error in the log that names it. A path with a segment `.` or
/// `..` is rejected with 404: a service that resolves it would serve another path than the one that was checked.
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
    pub(crate) policy: AccessPolicy,
}

/// Requirements.
impl RequireScope {
    /// Requires one scope; its identifier may be `{name}`.
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
    /// Panics when the literal is not a scope: a mistake in the program text, like a malformed path in axum.
    /// [`try_new`](Self::try_new) returns an error instead.
    #[track_caller]
    pub fn new(scope: &str) -> Self {
        built(Self::try_new(scope).map_err(|cause| RequirementError::invalid_scope(scope, cause)))
    }

    /// Fallible form of [`new`](Self::new), for a scope that is not a literal.
    ///
    /// # Errors
    ///
    /// [`ScopeError`] when the text is not `action:resource:identifier`, or has a brace outside of a placeholder.
    /// Create the layer [`from`](Self::from) a [`Scope`] for braces that are part of the scope.
    pub fn try_new(scope: &str) -> Result<Self, ScopeError> {
        Requirement::parse(Quantifier::All, &[scope]).map(Self::requiring).map_err(|(_, cause)| cause)
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
    /// Panics where [`try_all_of`](Self::try_all_of) returns an error.
    #[track_caller]
    pub fn all_of<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        built(Self::try_all_of(scopes))
    }

    /// Fallible form of [`all_of`](Self::all_of), for scopes that are not literals.
    ///
    /// # Errors
    ///
    /// [`RequirementError`] when there is no scope, or one is malformed.
    pub fn try_all_of<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Result<Self, RequirementError> {
        Self::several(Quantifier::All, scopes)
    }

    /// Requires at least one of these scopes. A rejection's challenge names the first: put the one first that clients should
    /// request.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let layer = RequireScope::any_of(["read:records:{patient_id}", "audit:records:*"]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics where [`try_any_of`](Self::try_any_of) returns an error.
    #[track_caller]
    pub fn any_of<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        built(Self::try_any_of(scopes))
    }

    /// Fallible form of [`any_of`](Self::any_of), for scopes that are not literals.
    ///
    /// # Errors
    ///
    /// [`RequirementError`] when there is no scope, or one is malformed.
    pub fn try_any_of<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Result<Self, RequirementError> {
        Self::several(Quantifier::Any, scopes)
    }

    /// Requires some scope of the kind `action:resource`, with any identifier: for listings. The handler extracts the
    /// identifiers as [`GrantedIdentifiers`](crate::GrantedIdentifiers) and filters the listing by them.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let layer = RequireScope::some_of_kind("read:records");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics where [`try_some_of_kind`](Self::try_some_of_kind) returns an error.
    #[track_caller]
    pub fn some_of_kind(kind: &str) -> Self {
        built(Self::try_some_of_kind(kind))
    }

    /// Fallible form of [`some_of_kind`](Self::some_of_kind), for a kind that is not a literal.
    ///
    /// # Errors
    ///
    /// [`RequirementError`] when the text is not `action:resource`.
    pub fn try_some_of_kind(kind: &str) -> Result<Self, RequirementError> {
        let requirement = Requirement::some_of_kind(kind);
        requirement.map(Self::requiring).map_err(|cause| RequirementError::invalid_scope(kind, cause))
    }

    /// Requires a scope for each method. A method without one is rejected with 405, after the token was verified; `HEAD`
    /// counts as `GET` unless it is listed itself.
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
    /// Panics where [`try_by_method`](Self::try_by_method) returns an error.
    #[track_caller]
    pub fn by_method<S: AsRef<str>>(scopes: impl IntoIterator<Item = (Method, S)>) -> Self {
        built(Self::try_by_method(scopes))
    }

    /// Fallible form of [`by_method`](Self::by_method), for scopes that are not literals.
    ///
    /// # Errors
    ///
    /// [`RequirementError`] when there is no method, a method is listed twice, or a scope is malformed.
    pub fn try_by_method<S: AsRef<str>>(
        scopes: impl IntoIterator<Item = (Method, S)>,
    ) -> Result<Self, RequirementError> {
        let mut methods: Vec<(Method, Requirement)> = Vec::new();
        for (method, scope) in scopes {
            if methods.iter().any(|(listed, _)| *listed == method) {
                return Err(RequirementError::RepeatedMethod { method });
            }
            methods.push((method, parse(Quantifier::All, &[scope])?));
        }
        if methods.is_empty() {
            return Err(RequirementError::NoMethods);
        }
        Ok(Self::requiring(Requirement::ByMethod(methods.into())))
    }

    /// Requires all scopes that the closure returns for the request's head. It runs after the token was verified. Its
    /// error rejects the request with 400.
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
    /// A value of the request can be `*`: a scope made of it is then the wildcard, which only a token with the wildcard
    /// covers. [`ScopeTemplate`](crate::verify::ScopeTemplate) rejects it. For an action or a resource from the
    /// request, create the scope with [`Scope::from_parts`]: in one text their colons would shift the parts.
    pub fn from_request(scopes: impl Fn(&Parts) -> Result<ScopeSet, BadRequest> + Send + Sync + 'static) -> Self {
        Self::requiring(Requirement::FromRequest(Custom(Arc::new(scopes))))
    }

    fn several<S: AsRef<str>>(
        quantifier: Quantifier,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, RequirementError> {
        let scopes: Vec<S> = scopes.into_iter().collect();
        if scopes.is_empty() {
            return Err(RequirementError::NoScopes);
        }
        parse(quantifier, &scopes).map(Self::requiring)
    }

    fn requiring(requirement: Requirement) -> Self {
        Self { policy: AccessPolicy { requirement: Some(requirement), ..AccessPolicy::default() } }
    }
}

/// Verification, and rendering of rejections.
impl RequireScope {
    /// Verifies tokens with one verifier, or with one for each of several issuers, whether or not an outer layer did.
    pub fn verifier(mut self, verifier: impl Into<Verifiers>) -> Self {
        self.policy.set_verifier(verifier.into());
        self
    }

    /// Takes the identifiers from a path of this pattern: for services without an axum router in front. The syntax is
    /// axum's; under a nest the path is the one without the prefix. A path that does not match is rejected with 404,
    /// also when the scope has no placeholder.
    ///
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let layer = RequireScope::new("read:records:{patient_id}").path("/patients/{patient_id}/records");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when the text is not a pattern, or does not have each parameter that a scope of this layer names exactly
    /// once. [`try_path`](Self::try_path) returns an error instead.
    #[track_caller]
    #[expect(clippy::panic, reason = "documented: a bad literal stops the program where it is written")]
    pub fn path(self, pattern: &str) -> Self {
        match self.try_path(pattern) {
            Ok(layer) => layer,
            Err(error) => panic!("invalid path `{pattern}`: {error}"),
        }
    }

    /// Fallible form of [`path`](Self::path), for a pattern that is not a literal.
    ///
    /// # Errors
    ///
    /// [`PathPatternError`] when the text is not a pattern, or does not have each parameter that a scope of this layer
    /// names exactly once.
    pub fn try_path(mut self, pattern: &str) -> Result<Self, PathPatternError> {
        let pattern = PathPattern::parse(pattern)?;
        let named = self.policy.requirement.as_ref().map(Requirement::parameters).unwrap_or_default();
        named.into_iter().try_for_each(|parameter| pattern.check_parameter(parameter))?;
        self.policy.path = Some(pattern);
        Ok(self)
    }

    /// Sets the source from which its own [`verifier`](Self::verifier) takes the token: see
    /// [`Authenticate::token_source`](crate::Authenticate::token_source).
    pub fn token_source(self, source: TokenSource) -> Self {
        self.token_sources([source])
    }

    /// Sets the sources from which its own [`verifier`](Self::verifier) takes the token: see
    /// [`Authenticate::token_sources`](crate::Authenticate::token_sources).
    pub fn token_sources(mut self, sources: impl IntoIterator<Item = TokenSource>) -> Self {
        self.policy.sources = TokenSources::new(sources);
        self
    }

    /// Renders rejections, those of the layers beneath too: see
    /// [`Authenticate::on_rejection`](crate::Authenticate::on_rejection), whose closure applies when this layer has
    /// none.
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
    /// ```
    /// # use agentwrit_tower::RequireScope;
    /// let metadata = "https://api.example/.well-known/oauth-protected-resource";
    /// let layer = RequireScope::new("read:data:*").challenge_parameter("resource_metadata", metadata);
    /// ```
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

    /// Inserts the claims into the response's extensions too: see
    /// [`Authenticate::claims_in_responses`](crate::Authenticate::claims_in_responses).
    pub fn claims_in_responses(mut self) -> Self {
        self.policy.claims_in_responses = true;
        self
    }
}

impl From<Scope> for RequireScope {
    /// Requires this scope; braces in it are literal.
    fn from(scope: Scope) -> Self {
        Self::requiring(Requirement::all([scope]))
    }
}

impl From<ScopeSet> for RequireScope {
    /// Requires all of these scopes; braces in them are literal.
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
/// It is ready when the inner service is. A rejection leaves the inner service's readiness unspent, for the next
/// request. The body of a rejected request is drained in a task of its own, up to 8 MiB and for up to 5 seconds, so
/// that a client that is still sending receives the rejection and not a connection reset (RFC 9112 §9.6).
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

fn parse(quantifier: Quantifier, scopes: &[impl AsRef<str>]) -> Result<Requirement, RequirementError> {
    Requirement::parse(quantifier, scopes).map_err(|(scope, cause)| RequirementError::invalid_scope(scope, cause))
}

#[track_caller]
#[expect(clippy::panic, reason = "documented: a bad literal stops the program where it is written")]
fn built<T>(result: Result<T, RequirementError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
