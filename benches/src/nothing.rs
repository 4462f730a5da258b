//! A layer that does nothing, to show what axum spends on any.
//!
//! It has its own response body, as every layer that may answer in place of the handler.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

/// Service of the layer that does nothing.
#[derive(Clone, Debug)]
pub struct Nothing<S>(pub S);

impl<S: Service<Request, Response = Response>> Service<Request> for Nothing<S> {
    type Response = Response<OwnBody>;
    type Error = S::Error;
    type Future = NothingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        NothingFuture { inner: self.0.call(request) }
    }
}

pin_project! {
    /// Future of the layer that does nothing.
    #[derive(Debug)]
    pub struct NothingFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for NothingFuture<F> {
    type Output = Result<Response<OwnBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx).map(|response| response.map(|response| response.map(OwnBody)))
    }
}

/// Body of the layer that does nothing.
#[derive(Debug)]
pub struct OwnBody(Body);

impl HttpBody for OwnBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
