//! The service around a service: asks the gate, then calls or answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::Full;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::answer;
use crate::body::ResponseBody;
use crate::gate::Gate;

/// The service that [`RequireScope`](crate::RequireScope) and [`Authenticate`](crate::Authenticate) put around another.
///
/// It is ready when the inner service is. Deciding takes no I/O and waits for nothing, so a request is either passed on
/// within `call` or never; the inner service need not be `Clone`. A refusal leaves the inner service's readiness unspent,
/// for the next request. (So a limiter beneath holds on to its permit until then, or until the service is dropped: hyper
/// and axum clone a service for each request and drop it at once.)
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    gate: Arc<Gate>,
    inner: S,
}

impl<S> Guarded<S> {
    pub(crate) fn new(gate: Arc<Gate>, inner: S) -> Self {
        Self { gate, inner }
    }
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match self.gate.decide(&head) {
            Ok(verified) => {
                // From here on `Debug` of the headers prints `Sensitive`, not the token.
                if let Some(credentials) = head.headers.get_mut(AUTHORIZATION) {
                    credentials.set_sensitive(true);
                }
                head.extensions.insert(verified);
                ResponseFuture::inner(self.inner.call(Request::from_parts(head, body)))
            }
            Err(refusal) => ResponseFuture::refused(answer::respond(refusal, &head)),
        }
    }
}

pin_project! {
    /// The response to come of a [`Guarded`] service: the inner service's, or a refusal that is already there.
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
        Inner { #[pin] future: F },
        // Boxed, so that the accepted path does not move a response's worth of bytes around for nothing.
        Refused { response: Option<Box<Response<Full<Bytes>>>> },
    }
}

impl<F> ResponseFuture<F> {
    fn inner(future: F) -> Self {
        Self { state: State::Inner { future } }
    }

    fn refused(response: Response<Full<Bytes>>) -> Self {
        Self { state: State::Refused { response: Some(Box::new(response)) } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Inner { future } => Poll::Ready(Ok(ready!(future.poll(cx))?.map(ResponseBody::inner))),
            StateProjection::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::refusal))),
                // Polled again after it was done: a caller's mistake, not worth a panic.
                None => Poll::Pending,
            },
        }
    }
}
