//! The call that the services of [`RequireScope`](crate::RequireScope) and [`Authenticate`](crate::Authenticate) share.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use agentwrit_verify::Admission;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::access_policy::AccessPolicy;
use crate::body::ResponseBody;
use crate::error_response::{self, DPOP_NONCE};
use crate::lingering::linger;
use crate::observe::DecisionTimer;
use crate::verified::Verified;

/// Decides on a request: calls the inner service, or responds in its place.
///
/// The decision does no I/O and waits for nothing, so a request is either passed on here or never; the inner service
/// need not be `Clone`. A rejection leaves the inner service's readiness unspent, for the next request. (So a limiter
/// beneath keeps its permit until then, or until the service is dropped: hyper and axum clone a service for each
/// request and drop it at once.)
pub(crate) fn call<S, B, R>(policy: &AccessPolicy, inner: &mut S, request: Request<B>) -> ResponseFuture<S::Future>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body + Send + 'static,
{
    let (mut head, body) = request.into_parts();
    let timer = DecisionTimer::start();
    let decision = policy.decide(&mut head);
    timer.stop(decision.as_ref().err());
    match decision {
        Ok(verified) => {
            // The layer that verifies counts the request.
            let counted = verified.as_ref().filter(|_| policy.verifier.is_some());
            let admission = counted.and_then(|verified| verified.token().admission().cloned());
            let nonce = counted.and_then(|verified| policy.senders.next_nonce(verified, &head));
            let claims = verified.filter(|_| policy.claims_in_responses);
            ResponseFuture::inner(inner.call(Request::from_parts(head, body)), claims, admission, nonce)
        }
        Err(rejection) => {
            linger(&head, body);
            let options = policy.rejection_options(&head);
            ResponseFuture::rejected(error_response::respond(rejection, &head, &options))
        }
    }
}

pin_project! {
    /// Response future of [`RequireScopeService`](crate::RequireScopeService) and
    /// [`AuthenticateService`](crate::AuthenticateService): the inner service's response, or a rejection.
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
        // The request has not ended while the future or the body holds its admission.
        Inner { #[pin] future: F, claims: Option<Verified>, admission: Option<Admission>, nonce: Option<HeaderValue> },
        // Boxed, so that the accepted path does not move the bytes of a whole response.
        Rejected { response: Option<Box<Response<Full<Bytes>>>> },
    }
}

impl<F> ResponseFuture<F> {
    fn inner(future: F, claims: Option<Verified>, admission: Option<Admission>, nonce: Option<HeaderValue>) -> Self {
        Self { state: State::Inner { future, claims, admission, nonce } }
    }

    fn rejected(response: Response<Full<Bytes>>) -> Self {
        Self { state: State::Rejected { response: Some(Box::new(response)) } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Inner { future, claims, admission, nonce } => {
                let mut response = ready!(future.poll(cx))?;
                if let Some(verified) = claims.take() {
                    response.extensions_mut().insert(verified);
                }
                // The nonce of a layer beneath that demands its own is the one that the client needs.
                if let Some(nonce) = nonce.take()
                    && !response.headers().contains_key(DPOP_NONCE)
                {
                    response.headers_mut().insert(DPOP_NONCE, nonce);
                }
                let admission = admission.take();
                Poll::Ready(Ok(response.map(|body| ResponseBody::counted(body, admission))))
            }
            StateProjection::Rejected { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::rejection))),
                // Polled after completion: a mistake of the caller's, not worth a panic.
                None => Poll::Pending,
            },
        }
    }
}
