//! Layer that adds the token to the requests of a tower client.

use std::{
    fmt,
    future::{Ready, ready as completed},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::retry::Policy;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    at_least::AtLeast,
    credentials::{Attempt, ProofStatus},
    error::ClientError,
    request_authorizer::{AuthorizationProvider, Origins, RequestAuthorizer},
};

/// Adds an agent's token to the requests of a tower client, for the given origins only.
///
/// The URI of a request, which has to be absolute, decides. Put this inside of a layer that follows redirects, so that
/// the URI of each hop decides; a client that follows redirects further inside chooses its headers by itself.
///
/// With a bound token each request has a proof (RFC 9449), for its method and URI, that counts once: layers that retry
/// belong outside of this one too. A server may reject a proof for its nonce or its time; [`ProofRetryPolicy`] sends the
/// request again then, with another proof.
///
/// ```
/// use agentwrit_client::{AuthorizeLayer, ClientError, LiveAgent, Origins};
///
/// fn layer(agent: &LiveAgent) -> Result<AuthorizeLayer, ClientError> {
///     Ok(AuthorizeLayer::new(agent.clone(), Origins::new(["https://records.example"])?))
/// }
/// ```
#[derive(Clone)]
pub struct AuthorizeLayer {
    authorizer: RequestAuthorizer,
}

impl AuthorizeLayer {
    /// Adds the provider's header to requests for `origins`.
    #[must_use]
    pub fn new(source: impl AuthorizationProvider, origins: Origins) -> Self {
        Self { authorizer: RequestAuthorizer::new(source, origins) }
    }

    /// Adds the header `AgentWrit-At-Least` to the requests for the origins.
    #[must_use]
    pub fn at_least(self, at_least: &AtLeast) -> Self {
        Self { authorizer: self.authorizer.at_least(at_least) }
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorize { inner, authorizer: self.authorizer.clone() }
    }
}

impl fmt::Debug for AuthorizeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authorizer.fmt(f)
    }
}

/// Client whose requests have the token: see [`AuthorizeLayer`].
#[derive(Clone, Debug)]
pub struct Authorize<S> {
    inner: S,
    authorizer: RequestAuthorizer,
}

impl<S, B, R> Service<Request<B>> for Authorize<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = AuthorizeError<S::Error>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(AuthorizeError::Service)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (uri, method) = (request.uri().clone(), request.method().clone());
        let authorized = match (uri.scheme_str(), uri.host()) {
            (Some(scheme), Some(host)) => {
                let target = (scheme, host, uri.port_u16(), uri.path());
                self.authorizer.authorize(request.headers_mut(), &method, target)
            }
            _ => Ok(Attempt::default()),
        };
        match authorized {
            Ok(attempt) => ResponseFuture { state: State::Sent { response: self.inner.call(request), attempt } },
            Err(error) => ResponseFuture { state: State::NoToken { error: Some(error) } },
        }
    }
}

/// Mark on a response that rejected the proof for its nonce or its time: the request was not processed.
#[derive(Clone, Copy, Debug)]
struct ProofOutdated;

/// Policy for [`tower::retry`]: sends a request again, once, whose proof the server rejected for its nonce or its time.
/// The server processed nothing.
///
/// Put the retry layer outside of [`AuthorizeLayer`]. The body has to be [`Clone`].
///
/// ```
/// use agentwrit_client::{AuthorizeLayer, ProofRetryPolicy};
/// use tower::{ServiceBuilder, retry::RetryLayer};
///
/// fn stack<C>(authorize: AuthorizeLayer, client: C) -> impl Sized {
///     ServiceBuilder::new().layer(RetryLayer::new(ProofRetryPolicy::new())).layer(authorize).service(client)
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProofRetryPolicy {
    retried: bool,
}

impl ProofRetryPolicy {
    /// Retries a request once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<B: Clone, R, E> Policy<Request<B>, Response<R>, E> for ProofRetryPolicy {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, result: &mut Result<Response<R>, E>) -> Option<Ready<()>> {
        let outdated = result.as_ref().is_ok_and(|response| response.extensions().get::<ProofOutdated>().is_some());
        (outdated && !std::mem::replace(&mut self.retried, true)).then(|| completed(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

/// Error of a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizeError<E> {
    /// There is no valid token; nothing was sent.
    #[error("request not sent: {0}")]
    NoToken(ClientError),
    /// The inner client failed.
    #[error(transparent)]
    Service(E),
}

pin_project! {
    /// Response future of [`Authorize`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        Sent { #[pin] response: F, attempt: Attempt },
        NoToken { error: Option<ClientError> },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, AuthorizeError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Sent { response, attempt } => {
                let mut response = ready!(response.poll(context)).map_err(AuthorizeError::Service)?;
                if attempt.judge(response.status(), response.headers()) == ProofStatus::Outdated {
                    response.extensions_mut().insert(ProofOutdated);
                }
                Poll::Ready(Ok(response))
            }
            // Taken once: a completed future is not polled again.
            StateProjection::NoToken { error } => {
                let error = error.take().unwrap_or_else(|| ClientError::no_token("the error was returned before"));
                Poll::Ready(Err(AuthorizeError::NoToken(error)))
            }
        }
    }
}
