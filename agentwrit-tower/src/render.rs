//! A service's own words for a refusal.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::refusal::Refusal;

/// A closure that renders refusals.
#[derive(Clone)]
pub(crate) struct Renderer(Arc<Render>);

type Render = dyn Fn(&Refusal, &Parts) -> Response<Bytes> + Send + Sync;

impl Renderer {
    pub(crate) fn new<R: Into<Bytes>>(
        render: impl Fn(&Refusal, &Parts) -> Response<R> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |refusal, head| render(refusal, head).map(Into::into)))
    }

    pub(crate) fn render(&self, refusal: &Refusal, head: &Parts) -> Response<Bytes> {
        (self.0)(refusal, head)
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renderer(…)")
    }
}
