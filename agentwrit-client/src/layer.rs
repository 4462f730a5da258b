//! Layer that adds the token to the requests of a tower client.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Request;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    at_least::AtLeast,
    error::ClientError,
    request_authorizer::{AuthorizationProvider, Origins, RequestAuthorizer},
};

/// Adds an agent's token to the requests of a tower client, for the given origins only.
///
/// The URI of a request, which has to be absolute, decides. Put this inside of a layer that follows redirects, so that
/// the URI of each hop decides; a client that follows redirects further inside chooses its headers by itself.
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

impl<S, B> Service<Request<B>> for Authorize<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = AuthorizeError<S::Error>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(AuthorizeError::Service)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let uri = request.uri().clone();
        let authorized = match (uri.scheme_str(), uri.host()) {
            (Some(scheme), Some(host)) => {
                self.authorizer.authorize(request.headers_mut(), (scheme, host, uri.port_u16()))
            }
            _ => Ok(()),
        };
        match authorized {
            Ok(()) => ResponseFuture { state: State::Sent { response: self.inner.call(request) } },
            Err(error) => ResponseFuture { state: State::NoToken { error: Some(error) } },
        }
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
        Sent { #[pin] response: F },
        NoToken { error: Option<ClientError> },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, E>>,
{
    type Output = Result<R, AuthorizeError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Sent { response } => {
                Poll::Ready(ready!(response.poll(context)).map_err(AuthorizeError::Service))
            }
            // Taken once: a completed future is not polled again.
            StateProjection::NoToken { error } => {
                let error = error.take().unwrap_or_else(|| ClientError::no_token("the error was returned before"));
                Poll::Ready(Err(AuthorizeError::NoToken(error)))
            }
        }
    }
}
