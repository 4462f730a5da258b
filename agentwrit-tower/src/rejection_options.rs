//! Options for rejections: a service's own rendering, and further parameters of the challenge.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::challenge::ChallengeParameters;
use crate::rejection::Rejection;

/// Options for a layer's rejections and for those of the layers beneath.
#[derive(Clone, Debug, Default)]
pub(crate) struct RejectionOptions {
    /// Renders a rejection; `None`: as a problem (RFC 9457).
    pub(crate) renderer: Option<Renderer>,
    /// Parameters that are added to each challenge.
    pub(crate) challenge: Option<Arc<ChallengeParameters>>,
    /// Lists the scheme `DPoP` beside `Bearer`, with these algorithms.
    pub(crate) dpop: Option<&'static str>,
}

impl RejectionOptions {
    /// Completes these options with those of the outer layers.
    pub(crate) fn within(&self, outer: &Self) -> Self {
        let challenge = match (&self.challenge, &outer.challenge) {
            (Some(own), Some(outer)) if own != outer => Some(Arc::new(own.or(outer))),
            (own, outer) => own.as_ref().or(outer.as_ref()).cloned(),
        };
        let renderer = self.renderer.as_ref().or(outer.renderer.as_ref()).cloned();
        Self { renderer, challenge, dpop: self.dpop.or(outer.dpop) }
    }

    pub(crate) fn is_default(&self) -> bool {
        self.renderer.is_none() && self.challenge.is_none() && self.dpop.is_none()
    }

    /// Returns the parameters that the closure chose for this rejection, then those of the layers.
    pub(crate) fn challenge_parameters(&self, of_closure: Option<ChallengeParameters>) -> ChallengeParameters {
        let of_closure = of_closure.unwrap_or_default();
        self.challenge.as_ref().map_or_else(|| of_closure.clone(), |layers| of_closure.or(layers))
    }

    /// Adds a parameter to each challenge.
    pub(crate) fn add_challenge_parameter(
        &mut self,
        name: &str,
        value: &str,
    ) -> Result<(), crate::ChallengeParameterError> {
        let parameters = self.challenge.as_deref().cloned().unwrap_or_default();
        self.challenge = Some(Arc::new(parameters.with(name, value)?));
        Ok(())
    }
}

/// Closure that renders rejections.
#[derive(Clone)]
pub(crate) struct Renderer(Arc<Render>);

type Render = dyn Fn(&Rejection, &Parts) -> Response<Bytes> + Send + Sync;

impl Renderer {
    pub(crate) fn new<R: Into<Bytes>>(
        render: impl Fn(&Rejection, &Parts) -> Response<R> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |rejection, head| render(rejection, head).map(Into::into)))
    }

    pub(crate) fn render(&self, rejection: &Rejection, head: &Parts) -> Response<Bytes> {
        (self.0)(rejection, head)
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renderer(…)")
    }
}
