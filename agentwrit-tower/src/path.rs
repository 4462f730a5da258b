//! The parameters of a request's path: those that axum matched, or those of a pattern given to the layer.
//!
//! Each is percent-decoded once: `%252A` is the text `%2A`, not `*`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::rejection::{IdentifierError, Misconfiguration, Rejection};

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
    /// The pattern has the parameter twice: which is meant?
    #[error("the scope wants the path parameter `{parameter}`, which the pattern has more than once")]
    RepeatedParameter {
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

    /// Whether it has this parameter, once.
    pub(crate) fn check(&self, parameter: &str) -> Result<(), PathPatternError> {
        // A pattern matches itself, braces that are no parameter's unescaped and each parameter being its own text.
        let own = self.text.replace("{{", "{").replace("}}", "}");
        let found = self.router.at(&own);
        match found.map_or(0, |found| found.params.iter().filter(|(name, _)| *name == parameter).count()) {
            0 => Err(PathPatternError::NoSuchParameter { parameter: parameter.to_owned() }),
            1 => Ok(()),
            _ => Err(PathPatternError::RepeatedParameter { parameter: parameter.to_owned() }),
        }
    }

    /// Whether a path is of this pattern.
    pub(crate) fn admit(&self, path: &str) -> Result<(), Rejection> {
        self.parameters(path).map(drop)
    }

    fn parameters<'a>(&'a self, path: &'a str) -> Result<matchit::Params<'a, 'a>, Rejection> {
        match self.router.at(path) {
            Ok(found) if !has_dot_segments(path) => Ok(found.params),
            Ok(_) | Err(matchit::MatchError::NotFound) => Err(Rejection::UnknownPath),
        }
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
    pub(crate) fn of(pattern: Option<&'a PathPattern>, head: &'a mut Parts) -> Result<Self, Rejection> {
        match pattern {
            Some(pattern) => pattern.parameters(head.uri.path()).map(Self::OfPattern),
            #[cfg(feature = "axum")]
            None if has_dot_segments(head.uri.path()) => Err(Rejection::UnknownPath),
            #[cfg(feature = "axum")]
            None => of_route(head),
            #[cfg(not(feature = "axum"))]
            None => Ok(Self::None),
        }
    }

    /// The one of this name, percent-decoded.
    pub(crate) fn named(&self, name: &str) -> Result<Cow<'_, str>, Rejection> {
        match self {
            Self::OfPattern(parameters) => {
                let encoded = the_only(name, parameters.iter())?;
                percent_decode_str(encoded).decode_utf8().map_err(|_| not_utf8(name))
            }
            #[cfg(feature = "axum")]
            Self::OfRoute(parameters) => the_only(name, parameters.iter()).map(Cow::Borrowed),
            #[cfg(feature = "axum")]
            Self::OfNoRoute => Err(Rejection::UnknownPath),
            Self::None => Err(Misconfiguration::NoSuchParameter { parameter: name.to_owned() }.into()),
        }
    }
}

/// Whether a segment is `.` or `..`, spelt in whatever way. No client leaves them in a path (RFC 3986 §5.2.4), and
/// whatever stands behind may yet take them out, a proxy for one: `/patients/P-7/../P-8` is then about `P-8`.
fn has_dot_segments(path: &str) -> bool {
    // How many dots the segment has so far; `None` when it has anything else.
    let mut dots = Some(0_usize);
    for byte in percent_decode_str(path).chain([b'/']) {
        match byte {
            b'/' | b'\\' if matches!(dots, Some(1 | 2)) => return true,
            b'/' | b'\\' => dots = Some(0),
            b'.' => dots = dots.map(|dots| dots.saturating_add(1)),
            _ => dots = None,
        }
    }
    false
}

fn the_only<'a>(name: &str, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Result<&'a str, Rejection> {
    let mut values = parameters.filter(|(found, _)| *found == name).map(|(_, value)| value);
    let value = values.next().ok_or_else(|| Misconfiguration::NoSuchParameter { parameter: name.to_owned() })?;
    match values.next() {
        Some(_) => Err(Misconfiguration::RepeatedParameter { parameter: name.to_owned() }.into()),
        None => Ok(value),
    }
}

fn not_utf8(parameter: &str) -> Rejection {
    Rejection::BadIdentifier { parameter: parameter.to_owned(), cause: IdentifierError::NotUtf8 }
}

/// What axum's router left in the request's extensions, through the only door to it: its extractor, which is ready when
/// it is first polled and takes nothing away.
#[cfg(feature = "axum")]
fn of_route(head: &mut Parts) -> Result<Parameters<'static>, Rejection> {
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
        let check = |pattern: &str, parameter: &str| PathPattern::parse(pattern).unwrap().check(parameter);
        let missing = |parameter: &str| Err(PathPatternError::NoSuchParameter { parameter: parameter.to_owned() });
        let two = "/patients/{patient_id}/labs/{lab}";
        assert_eq!((check(two, "patient_id"), check(two, "lab")), (Ok(()), Ok(())));
        assert_eq!((check(two, "patient"), check(two, "{lab}")), (missing("patient"), missing("{lab}")));
        assert_eq!(check("/files/{*rest}", "rest"), Ok(()));
        assert_eq!(check("/plain", "plain"), missing("plain"));
        assert_eq!((check("/{{a}}/{a}", "a"), check("/{{a}}", "a")), (Ok(()), missing("a")));
        let repeated = PathPatternError::RepeatedParameter { parameter: "id".to_owned() };
        assert_eq!(check("/a/{id}/b/{id}", "id"), Err(repeated));
    }

    #[test]
    fn dot_segments_are_found_in_any_spelling() {
        for path in [
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/%2e",
            "/a/.%2E/b",
            "/a%2F..%2fb",
            "/a\\..\\b",
            "/a/%2e%2e%5Cb",
            "..",
        ] {
            assert!(has_dot_segments(path), "{path}");
        }
        for path in ["", "/", "//", "*", "/a.b/c", "/.well-known", "/a..b", "/...", "/a/.../b", "/%252e%252e", "/..%00"]
        {
            assert!(!has_dot_segments(path), "{path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "patients/{id}", "/patients/{id", "/{}", "/a/{*rest}/b"] {
            assert!(matches!(PathPattern::parse(text), Err(PathPatternError::Malformed { .. })), "{text}");
        }
    }
}
