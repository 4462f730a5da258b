//! The parameters of a request's path: those that axum matched, or those of a pattern given to the layer.
//!
//! Each is percent-decoded once: `%252A` is the text `%2A`, not `*`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::refusal::{IdentifierError, Misconfiguration, Refusal};

/// A path with names for some of its segments, `/patients/{patient_id}`, in the syntax of axum and matchit.
#[derive(Clone)]
pub(crate) struct PathPattern {
    text: Arc<str>,
    router: matchit::Router<()>,
}

/// Why a layer can't work with a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathPatternError {
    /// It isn't one.
    #[error("malformed path pattern: {message}")]
    Malformed {
        /// What the matcher says.
        message: String,
    },
    /// The layer's scope names a parameter that the pattern doesn't have.
    #[error("the scope wants the path parameter `{parameter}`, which the pattern does not have")]
    NoSuchParameter {
        /// The parameter.
        parameter: String,
    },
}

impl PathPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PathPatternError> {
        let malformed = |message: String| PathPatternError::Malformed { message };
        if !text.starts_with('/') {
            return Err(malformed("a path starts with `/`".to_owned()));
        }
        let mut router = matchit::Router::new();
        router.insert(text, ()).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { text: text.into(), router })
    }

    /// Whether every path of the pattern has this parameter.
    pub(crate) fn has(&self, parameter: &str) -> bool {
        // A pattern matches itself, each parameter being its own text.
        let own = self.router.at(&self.text);
        own.is_ok_and(|found| found.params.iter().any(|(name, _)| name == parameter))
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathPattern({})", self.text)
    }
}

/// The parameters of one request's path.
pub(crate) enum Parameters<'a> {
    /// Still percent-encoded.
    OfPattern(matchit::Params<'a, 'a>),
    #[cfg(feature = "axum")]
    OfRoute(axum::extract::RawPathParams),
    /// axum has routed the request, to its fallback.
    #[cfg(feature = "axum")]
    OfNoRoute,
    None,
}

impl<'a> Parameters<'a> {
    /// Those of the pattern if there is one, else those that axum found.
    pub(crate) fn of(pattern: Option<&'a PathPattern>, head: &'a mut Parts) -> Result<Self, Refusal> {
        match pattern {
            Some(pattern) => match pattern.router.at(head.uri.path()) {
                Ok(found) => Ok(Self::OfPattern(found.params)),
                Err(matchit::MatchError::NotFound) => Err(Refusal::UnknownPath),
            },
            #[cfg(feature = "axum")]
            None => of_route(head),
            #[cfg(not(feature = "axum"))]
            None => Ok(Self::None),
        }
    }

    /// The one of this name, percent-decoded.
    pub(crate) fn named(&self, name: &str) -> Result<Cow<'_, str>, Refusal> {
        match self {
            Self::OfPattern(parameters) => {
                let encoded = the_only(name, parameters.iter())?;
                percent_decode_str(encoded).decode_utf8().map_err(|_| not_utf8(name))
            }
            #[cfg(feature = "axum")]
            Self::OfRoute(parameters) => the_only(name, parameters.iter()).map(Cow::Borrowed),
            #[cfg(feature = "axum")]
            Self::OfNoRoute => Err(Refusal::UnknownPath),
            Self::None => Err(Misconfiguration::NoSuchParameter { parameter: name.to_owned() }.into()),
        }
    }
}

fn the_only<'a>(name: &str, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Result<&'a str, Refusal> {
    let mut values = parameters.filter(|(found, _)| *found == name).map(|(_, value)| value);
    let value = values.next().ok_or_else(|| Misconfiguration::NoSuchParameter { parameter: name.to_owned() })?;
    match values.next() {
        Some(_) => Err(Misconfiguration::RepeatedParameter { parameter: name.to_owned() }.into()),
        None => Ok(value),
    }
}

fn not_utf8(parameter: &str) -> Refusal {
    Refusal::BadIdentifier { parameter: parameter.to_owned(), cause: IdentifierError::NotUtf8 }
}

/// What axum's router left in the request's extensions, through the only door to it: its extractor, which is ready when
/// it is first polled and takes nothing away.
#[cfg(feature = "axum")]
fn of_route(head: &mut Parts) -> Result<Parameters<'static>, Refusal> {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use axum::extract::rejection::RawPathParamsRejection;
    use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};

    let is_route = head.extensions.get::<MatchedPath>().is_some();
    let found = pin!(RawPathParams::from_request_parts(head, &())).poll(&mut Context::from_waker(Waker::noop()));
    match found {
        Poll::Ready(Ok(parameters)) if !is_route && parameters.iter().next().is_none() => Ok(Parameters::OfNoRoute),
        Poll::Ready(Ok(parameters)) => Ok(Parameters::OfRoute(parameters)),
        Poll::Ready(Err(RawPathParamsRejection::InvalidUtf8InPathParam(error))) => {
            let text = error.body_text();
            Err(not_utf8(text.split('`').nth(1).unwrap_or_default()))
        }
        Poll::Ready(Err(_)) | Poll::Pending => Ok(Parameters::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_knows_its_parameters() {
        let pattern = PathPattern::parse("/patients/{patient_id}/labs/{lab}").unwrap();
        assert!(pattern.has("patient_id") && pattern.has("lab"));
        assert!(!pattern.has("patient") && !pattern.has("{lab}"));
        assert!(PathPattern::parse("/files/{*rest}").unwrap().has("rest"));
        assert!(!PathPattern::parse("/plain").unwrap().has("plain"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "patients/{id}", "/patients/{id", "/{}", "/a/{*rest}/b"] {
            assert!(matches!(PathPattern::parse(text), Err(PathPatternError::Malformed { .. })), "{text}");
        }
    }
}
