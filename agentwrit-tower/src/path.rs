//! Parameters of a request's path: those that axum matched, or those of a pattern given to the layer.
//!
//! Each is percent-decoded once: `%252A` is the text `%2A`, not `*`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::rejection::{IdentifierError, Misconfiguration, Rejection};

/// Path pattern with names for some of its segments, `/patients/{patient_id}`, in the syntax of axum and matchit.
#[derive(Clone)]
pub(crate) struct PathPattern {
    text: Arc<str>,
    router: matchit::Router<()>,
}

/// Error of a path pattern that a layer cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathPatternError {
    /// The text is not a path pattern.
    #[error("malformed path pattern: {message}")]
    Malformed {
        /// The reason, from the path matcher.
        message: String,
    },
    /// The layer's scope names a parameter that the pattern doesn't have.
    #[error("the scope wants the path parameter `{parameter}`, which the pattern does not have")]
    NoSuchParameter {
        /// The name of the parameter.
        parameter: String,
    },
    /// The pattern has the parameter more than once.
    #[error("the scope wants the path parameter `{parameter}`, which the pattern has more than once")]
    RepeatedParameter {
        /// The name of the parameter.
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

    /// Checks that the pattern has this parameter exactly once.
    pub(crate) fn check_parameter(&self, parameter: &str) -> Result<(), PathPatternError> {
        // A pattern matches its own text with `{{` and `}}` unescaped; each parameter's value is then its own
        // placeholder.
        let own = self.text.replace("{{", "{").replace("}}", "}");
        let found = self.router.at(&own);
        match found.map_or(0, |found| found.params.iter().filter(|(name, _)| *name == parameter).count()) {
            0 => Err(PathPatternError::NoSuchParameter { parameter: parameter.to_owned() }),
            1 => Ok(()),
            _ => Err(PathPatternError::RepeatedParameter { parameter: parameter.to_owned() }),
        }
    }

    /// Checks that a path matches this pattern.
    pub(crate) fn check_path(&self, path: &str) -> Result<(), Rejection> {
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

/// Parameters of one request's path.
pub(crate) enum Parameters<'a> {
    /// Those of the layer's pattern, still percent-encoded.
    Pattern(matchit::Params<'a, 'a>),
    #[cfg(feature = "axum")]
    Route(axum::extract::RawPathParams),
    /// axum routed the request to its fallback.
    #[cfg(feature = "axum")]
    Fallback,
    None,
}

impl<'a> Parameters<'a> {
    /// Returns those of the pattern if there is one, else those that axum matched.
    pub(crate) fn of(pattern: Option<&'a PathPattern>, head: &'a mut Parts) -> Result<Self, Rejection> {
        match pattern {
            Some(pattern) => pattern.parameters(head.uri.path()).map(Self::Pattern),
            #[cfg(feature = "axum")]
            None if has_dot_segments(head.uri.path()) => Err(Rejection::UnknownPath),
            #[cfg(feature = "axum")]
            None => route_parameters(head),
            #[cfg(not(feature = "axum"))]
            None => Ok(Self::None),
        }
    }

    /// Returns the value of a parameter, percent-decoded.
    pub(crate) fn decoded(&self, name: &str) -> Result<Cow<'_, str>, Rejection> {
        match self {
            Self::Pattern(parameters) => {
                let encoded = single(name, parameters.iter())?;
                percent_decode_str(encoded).decode_utf8().map_err(|_| not_utf8(name))
            }
            #[cfg(feature = "axum")]
            Self::Route(parameters) => single(name, parameters.iter()).map(Cow::Borrowed),
            #[cfg(feature = "axum")]
            Self::Fallback => Err(Rejection::UnknownPath),
            Self::None => Err(Misconfiguration::NoSuchParameter { parameter: name.to_owned() }.into()),
        }
    }
}

/// Finds segments `.` and `..` in any spelling. Clients remove them from a path (RFC 3986 §5.2.4), and a service or
/// proxy behind this one may still resolve them: `/patients/P-7/../P-8` then means `P-8`.
fn has_dot_segments(path: &str) -> bool {
    // The number of dots in the segment so far; `None` when it has another character.
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

fn single<'a>(name: &str, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Result<&'a str, Rejection> {
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

/// Reads the parameters that axum's router left in the request's extensions, through axum's extractor: their type is
/// private. The extractor is ready at the first poll and removes nothing.
#[cfg(feature = "axum")]
fn route_parameters(head: &mut Parts) -> Result<Parameters<'static>, Rejection> {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use axum::extract::rejection::RawPathParamsRejection;
    use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};

    let is_route = head.extensions.get::<MatchedPath>().is_some();
    let found = pin!(RawPathParams::from_request_parts(head, &())).poll(&mut Context::from_waker(Waker::noop()));
    match found {
        Poll::Ready(Ok(parameters)) if !is_route && parameters.iter().next().is_none() => Ok(Parameters::Fallback),
        Poll::Ready(Ok(parameters)) => Ok(Parameters::Route(parameters)),
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
    fn finds_parameters_of_pattern() {
        let check = |pattern: &str, parameter: &str| PathPattern::parse(pattern).unwrap().check_parameter(parameter);
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
    fn finds_dot_segments_in_any_spelling() {
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
    fn rejects_malformed_patterns() {
        for text in ["", "patients/{id}", "/patients/{id", "/{}", "/a/{*rest}/b"] {
            assert!(matches!(PathPattern::parse(text), Err(PathPatternError::Malformed { .. })), "{text}");
        }
    }
}
