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
    // No larger than a boxed body: a response is moved several times on its way out.
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<R> {
        Inner { #[pin] body: R },
        Other { other: Pin<Box<Other<R>>> },
    }
}

pin_project! {
    #[project = OtherProjection]
    #[derive(Debug)]
    enum Other<R> {
        Counted { #[pin] body: R, admission: Option<Admission> },
        Rejection { #[pin] body: Full<Bytes> },
    }
}

impl<R> ResponseBody<R> {
    pub(crate) fn inner(body: R) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    /// A body whose request has ended when it ends or is dropped.
    pub(crate) fn counted(body: R, admission: Option<Admission>) -> Self {
        match admission {
            Some(_) => Self::other(Other::Counted { body, admission }),
            None => Self::inner(body),
        }
    }

    pub(crate) fn rejection(body: Full<Bytes>) -> Self {
        Self::other(Other::Rejection { body })
    }

    fn other(other: Other<R>) -> Self {
        Self { kind: Kind::Other { other: Box::pin(other) } }
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
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Other { other } => other.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Other { other } => other.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Other { other } => other.size_hint(),
        }
    }
}

impl<R> Body for Other<R>
where
    R: Body,
    R::Data: From<Bytes>,
{
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project() {
            OtherProjection::Counted { body, admission } => {
                let frame = ready!(body.poll_frame(cx));
                if !matches!(frame, Some(Ok(_))) {
                    *admission = None;
                }
                Poll::Ready(frame)
            }
            OtherProjection::Rejection { body } => body.poll_frame(cx).map(|frame| match frame {
                Some(Ok(frame)) => Some(Ok(frame.map_data(R::Data::from))),
                Some(Err(never)) => match never {},
                None => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Counted { body, .. } => body.is_end_stream(),
            Self::Rejection { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Counted { body, .. } => body.size_hint(),
            Self::Rejection { body } => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_no_larger_than_boxed_body() {
        type Boxed = Pin<Box<dyn Body<Data = Bytes, Error = std::convert::Infallible>>>;
        assert_eq!(size_of::<ResponseBody<Boxed>>(), size_of::<Boxed>());
    }
}
