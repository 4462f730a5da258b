//! The token on the requests of a tower client.

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
    error::ClientError,
    request_authorizer::{AuthorizationProvider, Origins, RequestAuthorizer},
};

/// Attaches an agent's token to the requests of a tower client, for the origins that were named and no other.
///
/// A request is judged by its URI, which has to be absolute. Put this inside of whatever follows redirects, so that each
/// hop is judged by its own URI; a client that follows redirects further inside decides by itself what it sends along.
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
    /// Attaches what `source` has, to requests for `origins`.
    #[must_use]
    pub fn new(source: impl AuthorizationProvider, origins: Origins) -> Self {
        Self { authorizer: RequestAuthorizer::new(source, origins) }
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

/// A client whose requests carry the token: see [`AuthorizeLayer`].
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
        let attached = match (uri.scheme_str(), uri.host()) {
            (Some(scheme), Some(host)) => {
                self.authorizer.authorize(request.headers_mut(), (scheme, host, uri.port_u16()))
            }
            _ => Ok(()),
        };
        match attached {
            Ok(()) => ResponseFuture::Sent { response: self.inner.call(request) },
            Err(reason) => ResponseFuture::Rejected { reason: Some(reason) },
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AuthorizeError<E> {
    /// There is no valid token; nothing was sent.
    #[error("request not sent: {0}")]
    NoToken(ClientError),
    /// The client's own error.
    #[error(transparent)]
    Service(E),
}

pin_project! {
    /// The response of an [`Authorize`].
    #[project = Project]
    #[derive(Debug)]
    #[expect(missing_docs, reason = "the states are nobody's business")]
    pub enum ResponseFuture<F> {
        Sent { #[pin] response: F },
        Rejected { reason: Option<ClientError> },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, E>>,
{
    type Output = Result<R, AuthorizeError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Project::Sent { response } => Poll::Ready(ready!(response.poll(context)).map_err(AuthorizeError::Service)),
            // Taken once: a future that was ready is not polled again.
            Project::Rejected { reason } => {
                let reason = reason.take().unwrap_or_else(|| ClientError::no_token("it was told before"));
                Poll::Ready(Err(AuthorizeError::NoToken(reason)))
            }
        }
    }
}
