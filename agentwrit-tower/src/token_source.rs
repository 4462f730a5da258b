//! Sources of a request's token.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use agentwrit_verify::proof::Scheme;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::at_least::AT_LEAST;
use crate::bearer;
use crate::rejection::{CredentialsError, Rejection};
use crate::sender::DPOP;

/// Part of a request that may hold its token.
///
/// The default is the `Authorization` header. A layer with several sources rejects requests that have a value in more
/// than one with 400 (RFC 6750 §2). The query string is not offered: it ends up in logs, histories and `Referer`
/// headers (RFC 9700 §4.3.2).
///
/// ```
/// use agentwrit_tower::{Authenticate, TokenSource, verify::Verifier};
///
/// fn layer(verifier: Verifier) -> Authenticate {
///     let cookie = TokenSource::cookie("__Host-token");
///     Authenticate::new(verifier).token_sources([TokenSource::authorization(), cookie])
/// }
/// # layer(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
/// ```
#[derive(Clone)]
pub struct TokenSource(Kind);

#[derive(Clone)]
enum Kind {
    Authorization,
    Cookie(Box<str>),
    Custom(Arc<FindToken>),
}

type FindToken = dyn Fn(&Parts) -> Option<String> + Send + Sync;

impl TokenSource {
    /// The `Authorization` header: `Bearer` (RFC 6750 §2.1), and `DPoP` (RFC 9449 §7.1) where proofs are judged.
    #[must_use]
    pub fn authorization() -> Self {
        Self(Kind::Authorization)
    }

    /// The cookie of this name, which is case-sensitive.
    ///
    /// A browser attaches cookies to requests that other sites cause: protect requests that change state against
    /// cross-site request forgery, and set the cookie `HttpOnly`, `Secure`, `SameSite=Strict`, with a `__Host-` name.
    /// Unlike responses to requests with an `Authorization` header (RFC 9111 §3.5), responses to cookies may be stored
    /// by shared caches: send `Cache-Control: private`.
    ///
    /// A bound token in a cookie, or of a [closure](Self::custom), needs a `DPoP` header: a [`ClientKey`](crate::ClientKey) replaces
    /// proofs only for tokens with the scheme `DPoP` in `Authorization`.
    #[must_use]
    pub fn cookie(name: impl Into<String>) -> Self {
        Self(Kind::Cookie(name.into().into()))
    }

    /// The token that the closure returns; `None` when the request has none.
    #[must_use]
    pub fn custom(find: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Kind::Custom(Arc::new(find)))
    }

    /// Returns this source's token, and its scheme: that of a token outside of `Authorization` is `DPoP` in a request with a
    /// proof, otherwise `Bearer`.
    fn find<'a>(&self, head: &'a Parts) -> Result<(Scheme, Cow<'a, str>), CredentialsError> {
        let presented = |token| {
            let scheme = if head.headers.contains_key(&DPOP) { Scheme::Dpop } else { Scheme::Bearer };
            (scheme, token)
        };
        match &self.0 {
            Kind::Authorization => bearer::token(&head.headers).map(|(scheme, token)| (scheme, token.into())),
            Kind::Cookie(name) => cookie(&head.headers, name).map(Cow::Borrowed).map(presented),
            Kind::Custom(find) => match find(head) {
                Some(token) if bearer::is_token68(&token) => Ok(presented(Cow::Owned(token))),
                Some(_) => Err(CredentialsError::MalformedToken),
                None => Err(CredentialsError::Missing),
            },
        }
    }

    fn is_header(&self, name: &HeaderName) -> bool {
        match self.0 {
            Kind::Authorization => *name == AUTHORIZATION,
            Kind::Cookie(_) => *name == COOKIE,
            Kind::Custom(_) => false,
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Authorization => f.write_str("Authorization"),
            Kind::Cookie(name) => write!(f, "Cookie({name})"),
            Kind::Custom(_) => f.write_str("Custom(…)"),
        }
    }
}

/// All sources of a layer.
#[derive(Clone, Debug)]
pub(crate) struct TokenSources(Box<[TokenSource]>);

impl Default for TokenSources {
    fn default() -> Self {
        Self(Box::new([TokenSource::authorization()]))
    }
}

impl TokenSources {
    pub(crate) fn new(sources: impl IntoIterator<Item = TokenSource>) -> Self {
        Self(sources.into_iter().collect())
    }

    /// Returns the request's one token and its scheme.
    pub(crate) fn token<'a>(&self, head: &'a Parts) -> Result<(Scheme, Cow<'a, str>), Rejection> {
        let mut presented =
            self.0.iter().map(|source| source.find(head)).filter(|found| *found != Err(CredentialsError::Missing));
        let first = presented.next().unwrap_or(Err(CredentialsError::Missing));
        match presented.next() {
            Some(_) => Err(Rejection::MultipleTokens),
            None => first.map_err(Rejection::from),
        }
    }

    /// Marks the headers of the sources and the proof as sensitive: their `Debug` prints `Sensitive`. A proof that was rejected
    /// may still be good elsewhere. Returns true when the request requires a cursor: this pass over all headers replaces a
    /// look-up of a header that few requests have.
    pub(crate) fn mark_sensitive(&self, headers: &mut HeaderMap) -> bool {
        let mut requires_cursor = false;
        // Not `entry`, which reserves room for a value: an allocation, and a panic when the map is full.
        for (name, value) in headers {
            if self.0.iter().any(|source| source.is_header(name)) || *name == DPOP {
                value.set_sensitive(true);
            } else if *name == AT_LEAST {
                requires_cursor = true;
            }
        }
        requires_cursor
    }
}

/// Returns the value of the one cookie of this name, RFC 6265 §5.4. HTTP/2 may send each pair in a header of its own.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, CredentialsError> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| value_of(pair.trim_ascii(), name));
    let value = values.next().ok_or(CredentialsError::Missing)?;
    if values.next().is_some() {
        // A sibling domain may have set one of them.
        return Err(CredentialsError::RepeatedCookie);
    }
    std::str::from_utf8(value).ok().filter(|token| bearer::is_token68(token)).ok_or(CredentialsError::MalformedToken)
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn find(lines: &[&str]) -> Result<String, CredentialsError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        cookie(&headers, "token").map(str::to_owned)
    }

    #[test]
    fn finds_cookie_by_exact_name() {
        assert_eq!(find(&["token=a.b.c"]), Ok("a.b.c".to_owned()));
        assert_eq!(find(&["x=1; token=a.b.c;y=2"]), Ok("a.b.c".to_owned()));
        assert_eq!(find(&["x=1", "token=a.b.c"]), Ok("a.b.c".to_owned()));
        for missing in [&[][..], &["x=1"], &["Token=a"], &["xtoken=a"], &["token2=a"], &["token"], &["x=token=a"]] {
            assert_eq!(find(missing), Err(CredentialsError::Missing), "{missing:?}");
        }
    }

    #[test]
    fn rejects_repeated_and_malformed_cookies() {
        assert_eq!(find(&["token=a; token=a"]), Err(CredentialsError::RepeatedCookie));
        assert_eq!(find(&["token=a", "token=b"]), Err(CredentialsError::RepeatedCookie));
        for strange in ["token=", "token=a b", "token=\"a\"", "token=a,b", "token=caf\u{e9}"] {
            assert_eq!(find(&[strange]), Err(CredentialsError::MalformedToken), "{strange}");
        }
    }

    #[test]
    fn rejects_malformed_token_of_custom_source() {
        let head = |token: &str| Request::get("/").header("x-token", token).body(()).unwrap().into_parts().0;
        let source = TokenSource::custom(|head| Some(head.headers.get("x-token")?.to_str().ok()?.to_owned()));
        assert_eq!(source.find(&head("a.b.c")), Ok((Scheme::Bearer, "a.b.c".into())));
        assert_eq!(source.find(&head("a b")), Err(CredentialsError::MalformedToken));
        assert_eq!(source.find(&Request::new(()).into_parts().0), Err(CredentialsError::Missing));
    }
}
