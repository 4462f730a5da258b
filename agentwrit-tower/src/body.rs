//! Response body: the inner service's, or that of a rejection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use agentwrit_verify::Admission;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

pin_project! {
    /// Response body of a protected service: the inner service's body, untouched, or a problem.
    #[derive(Debug)]
    pub struct ResponseBody<R> {
        #[pin]
        kind: Kind<R>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<R> {
        Inner { #[pin] body: R, admission: Option<Admission> },
        Rejection { #[pin] body: Full<Bytes> },
    }
}

impl<R> ResponseBody<R> {
    pub(crate) fn inner(body: R) -> Self {
        Self::counted(body, None)
    }

    /// A body whose request has ended when it ends or is dropped.
    pub(crate) fn counted(body: R, admission: Option<Admission>) -> Self {
        Self { kind: Kind::Inner { body, admission } }
    }

    pub(crate) fn rejection(body: Full<Bytes>) -> Self {
        Self { kind: Kind::Rejection { body } }
    }
}

impl<R: Default> Default for ResponseBody<R> {
    fn default() -> Self {
        Self::inner(R::default())
    }
}

/// Implemented for every body whose data can be made from [`Bytes`]: those of axum, hyper, tonic and `http-body-util`.
impl<R> Body for ResponseBody<R>
where
    R: Body,
    R::Data: From<Bytes>,
{
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body, admission } => {
                let frame = ready!(body.poll_frame(cx));
                if !matches!(frame, Some(Ok(_))) {
                    *admission = None;
                }
                Poll::Ready(frame)
            }
            KindProjection::Rejection { body } => body.poll_frame(cx).map(|frame| match frame {
                Some(Ok(frame)) => Some(Ok(frame.map_data(R::Data::from))),
                Some(Err(never)) => match never {},
                None => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body, .. } => body.is_end_stream(),
            Kind::Rejection { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body, .. } => body.size_hint(),
            Kind::Rejection { body } => body.size_hint(),
        }
    }
}
