//! The service around a service: asks the gate, then calls or answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::answer;
use crate::body::ResponseBody;
use crate::gate::Gate;
use crate::lingering::linger;
use crate::observe::Stopwatch;
use crate::verified::Verified;

/// The service that [`RequireScope`](crate::RequireScope) and [`Authenticate`](crate::Authenticate) put around another.
///
/// It is ready when the inner service is. Deciding takes no I/O and waits for nothing, so a request is either passed on
/// within `call` or never; the inner service need not be `Clone`. A refusal leaves the inner service's readiness unspent,
/// for the next request. (So a limiter beneath holds on to its permit until then, or until the service is dropped: hyper
/// and axum clone a service for each request and drop it at once.)
///
/// The body of a refused request is drained in a task of its own, up to 8 MiB and for up to 5 seconds, so that a client
/// that is still sending receives the refusal and not a connection reset (RFC 9112 §9.6).
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
    B: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let stopwatch = Stopwatch::start();
        let decision = self.gate.admit(&mut head);
        stopwatch.stop(decision.as_ref().err());
        match decision {
            Ok(verified) => {
                let mark = verified.filter(|_| self.gate.mark_responses);
                ResponseFuture::inner(self.inner.call(Request::from_parts(head, body)), mark)
            }
            Err(refusal) => {
                linger(&head, body);
                ResponseFuture::refused(answer::respond(refusal, &head, &self.gate.presentation(&head)))
            }
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
        Inner { #[pin] future: F, mark: Option<Verified> },
        // Boxed, so that the accepted path does not move a response's worth of bytes around for nothing.
        Refused { response: Option<Box<Response<Full<Bytes>>>> },
    }
}

impl<F> ResponseFuture<F> {
    fn inner(future: F, mark: Option<Verified>) -> Self {
        Self { state: State::Inner { future, mark } }
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
            StateProjection::Inner { future, mark } => {
                let mut response = ready!(future.poll(cx))?;
                if let Some(verified) = mark.take() {
                    response.extensions_mut().insert(verified);
                }
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            StateProjection::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::refusal))),
                // Polled again after it was done: a caller's mistake, not worth a panic.
                None => Poll::Pending,
            },
        }
    }
}
