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
        Ok(()) => {
            let verified = head.extensions.get::<Verified>();
            // The layer that verifies counts the request.
            let counted = verified.filter(|_| policy.verifier.is_some());
            let admission = counted.and_then(|verified| verified.token().admission().cloned());
            let nonce = counted.and_then(|verified| policy.senders.next_nonce(verified, &head));
            let claims = verified.filter(|_| policy.claims_in_responses).cloned();
            let additions = Additions::of(claims, nonce);
            ResponseFuture {
                state: State::Inner { future: inner.call(Request::from_parts(head, body)), admission, additions },
            }
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

/// What the response of an accepted request gets from the layer: nothing in most layers. Boxed, so that the future, which is
/// moved several times, stays small.
#[derive(Debug)]
struct Additions {
    claims: Option<Verified>,
    nonce: Option<HeaderValue>,
}

impl Additions {
    fn of(claims: Option<Verified>, nonce: Option<HeaderValue>) -> Option<Box<Self>> {
        (claims.is_some() || nonce.is_some()).then(|| Box::new(Self { claims, nonce }))
    }

    fn added_to<R>(self, mut response: Response<R>) -> Response<R> {
        if let Some(verified) = self.claims {
            response.extensions_mut().insert(verified);
        }
        // The nonce of a layer beneath that demands its own is the one that the client needs.
        if let Some(nonce) = self.nonce
            && !response.headers().contains_key(DPOP_NONCE)
        {
            response.headers_mut().insert(DPOP_NONCE, nonce);
        }
        response
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        // The request has not ended while the future or the body holds its admission.
        Inner { #[pin] future: F, admission: Option<Admission>, additions: Option<Box<Additions>> },
        // Boxed, so that the accepted path does not move the bytes of a whole response.
        Rejected { response: Option<Box<Response<Full<Bytes>>>> },
    }
}

impl<F> ResponseFuture<F> {
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
            StateProjection::Inner { future, admission, additions } => {
                let outcome = ready!(future.poll(cx));
                let (admission, additions) = (admission.take(), additions.take());
                Poll::Ready(outcome.map(|response| {
                    let response = match additions {
                        Some(additions) => additions.added_to(response),
                        None => response,
                    };
                    response.map(|body| ResponseBody::counted(body, admission))
                }))
            }
            StateProjection::Rejected { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::rejection))),
                // Polled after completion: a mistake of the caller's, not worth a panic.
                None => Poll::Pending,
            },
        }
    }
}
