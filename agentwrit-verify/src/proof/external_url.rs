//! URLs by which clients reach a service, and the comparison of `htu` with them (RFC 9449 §4.3, check 9).
//!
//! 1. The expected `htu` is an external URL followed by the path of the request as this service received it. The path of
//!    an external URL is what a proxy in front of the service strips; where none is stripped it has none.
//! 2. Both are compared after normalisation by RFC 3986 §6.2.2 and §6.2.3: case of scheme and host, default and empty
//!    port, an empty path, percent-encodings of unreserved characters and in lower case, dot segments of `htu`. Query and
//!    fragment of `htu` are ignored.
//! 3. A request whose own path has dot segments is rejected: routers differ in what they make of them.
//! 4. Nothing else is equivalent: neither a trailing slash nor a doubled one, nor `%2F` and `/`.

use std::{borrow::Cow, fmt, net::Ipv6Addr, str::FromStr};

/// URL by which clients reach a service, up to the path that the service itself receives: `https://api.example.com`, or
/// `https://api.example.com/records` behind a proxy that strips `/records`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExternalUrl(Box<str>);

impl ExternalUrl {
    /// Reads an absolute `http` or `https` URL without user name, query and fragment. A trailing slash is ignored.
    ///
    /// # Errors
    ///
    /// [`ExternalUrlError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ExternalUrlError> {
        let url = normalised(text).filter(|_| !text.contains(['?', '#'])).ok_or_else(|| ExternalUrlError::of(text))?;
        Ok(Self(url.strip_suffix('/').unwrap_or(&url).into()))
    }

    /// Returns the normalised URL, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true when scheme, host and port are those of `other`.
    #[must_use]
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.split_path().0 == other.split_path().0
    }

    /// Returns true when a path follows the authority: the prefix that a proxy strips.
    pub(super) fn has_path(&self) -> bool {
        !self.split_path().1.is_empty()
    }

    /// Splits the normal form, which has no slash behind the authority unless a path follows.
    fn split_path(&self) -> (&str, &str) {
        let authority = self.0.find("://").map_or(0, |colon| colon.saturating_add(3));
        let slash = self.0.get(authority..).and_then(|rest| rest.find('/'));
        let end = slash.map_or(self.0.len(), |slash| slash.saturating_add(authority));
        self.0.split_at_checked(end).unwrap_or((&self.0, ""))
    }

    /// Returns true when `htu` names `path`, which is [normalised](request_path), below this URL.
    pub(super) fn is_named_by(&self, htu: &str, path: &str) -> bool {
        self.is_joined(htu, path) || normalised(htu).is_some_and(|htu| self.is_joined(&htu, path))
    }

    fn is_joined(&self, url: &str, path: &str) -> bool {
        url.strip_prefix(&*self.0) == Some(path)
    }
}

impl fmt::Display for ExternalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ExternalUrl {
    type Err = ExternalUrlError;

    fn from_str(text: &str) -> Result<Self, ExternalUrlError> {
        Self::parse(text)
    }
}

/// Error of a text that is not an external URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an absolute http or https URL without user name, query and fragment")]
#[non_exhaustive]
pub struct ExternalUrlError {
    /// The first 256 characters of the text.
    pub text: String,
}

impl ExternalUrlError {
    fn of(text: &str) -> Self {
        Self { text: text.chars().take(256).flat_map(agentwrit_json::escape_control).collect() }
    }
}

/// Returns the normalised path of a request target, without the query; `None` for one that has dot segments or is no path.
pub(super) fn request_path(target: &str) -> Option<Cow<'_, str>> {
    let path = target.split('?').next().filter(|path| is_uri_text(path))?;
    let path = if path.is_empty() { "/" } else { path };
    let path = if path.contains('%') { Cow::Owned(decoded_unreserved(path)?) } else { Cow::Borrowed(path) };
    let segments = path.strip_prefix('/')?;
    (!segments.split('/').any(|segment| matches!(segment, "." | ".."))).then_some(path)
}

/// Returns an absolute `http` or `https` URL in its normal form, without query and fragment.
fn normalised(url: &str) -> Option<String> {
    let url = url.split(['?', '#']).next().filter(|url| is_uri_text(url))?;
    let (scheme, rest) = url.split_once("://")?;
    let (scheme, default_port) =
        [("https", 443), ("http", 80)].into_iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme))?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let (host, port) = split_port(authority)?;
    let host = normalised_host(host)?;
    let port = match port.parse::<u16>() {
        Ok(port) if port == default_port => String::new(),
        Ok(port) => format!(":{port}"),
        Err(_) if port.is_empty() => String::new(),
        Err(_) => return None,
    };
    let path = without_dot_segments(&decoded_unreserved(path)?);
    Some(format!("{scheme}://{host}{port}{path}"))
}

/// Returns true for characters that a URI may have. Others, which parsers of URLs may skip or rewrite, are refused.
fn is_uri_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn split_port(authority: &str) -> Option<(&str, &str)> {
    let end = if authority.starts_with('[') {
        authority.find(']')?.checked_add(1)?
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at_checked(end)?;
    let port = if rest.is_empty() { rest } else { rest.strip_prefix(':')? };
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some((host, port))
}

/// Returns the host in lower case: a name without percent-encodings, or an address. An IPv6 address is written by RFC
/// 5952.
fn normalised_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let is_name = |byte: u8| is_unreserved(byte) || b"!$&'()*+,;=".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_name)).then(|| host.to_ascii_lowercase())
}

/// Decodes percent-encodings of unreserved characters and writes the others in upper case (RFC 3986 §6.2.2.1, §6.2.2.2).
/// `None` for a percent sign that encodes nothing.
fn decoded_unreserved(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut decoded = String::from(parts.next()?);
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let byte =
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())??;
        if is_unreserved(byte) {
            decoded.push(char::from(byte));
        } else {
            decoded.push('%');
            decoded.push_str(&digits.to_ascii_uppercase());
        }
        decoded.push_str(rest);
    }
    Some(decoded)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Removes the dot segments of an absolute path (RFC 3986 §5.2.4).
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment == ".." {
            kept.pop();
        } else if segment != "." {
            kept.push(segment);
        }
        if matches!(segment, "." | "..") && segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_external_urls_in_their_normal_form() {
        for (text, normal) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://api.example.com/", "https://api.example.com"),
            ("HTTPS://API.Example.com:443/svc2/", "https://api.example.com/svc2"),
            ("http://api.example.com:080", "http://api.example.com"),
            ("https://api.example.com:80", "https://api.example.com:80"),
            ("https://api.example.com:", "https://api.example.com"),
            ("https://api.example.com/a/%7euser/../%2fb", "https://api.example.com/a/%2Fb"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[0:0:0:0:0:0:0:1]:8080/x", "http://[::1]:8080/x"),
            ("http://[::FFFF:192.0.2.1]", "http://[::ffff:192.0.2.1]"),
        ] {
            assert_eq!(ExternalUrl::parse(text).map(|url| url.to_string()).as_deref(), Ok(normal), "{text}");
        }
    }

    #[test]
    fn rejects_texts_that_are_not_external_urls() {
        for text in [
            "",
            "api.example.com",
            "https:api.example.com",
            "https:/api.example.com",
            "//api.example.com",
            "ftp://api.example.com",
            "https://",
            "https:///path",
            "https://:443",
            "https://user@api.example.com",
            "https://user:password@api.example.com",
            "https://api.example.com?tenant=1",
            "https://api.example.com/#",
            "https://api.example.com:x",
            "https://api.example.com:-1",
            "https://api.example.com:+1",
            "https://api.example.com:65536",
            "https://api.example.com:1:2",
            "https://[::1",
            "https://[::1]x",
            "https://[]",
            "https://a[b]",
            "https://api.example.com\\x",
            "https://api.example.com/a b",
            "https://api.example.com/\t",
            "https://api.example.com/ü",
            "https://exämple.com",
            "https://ex%61mple.com",
            "https://api.example.com/%",
            "https://api.example.com/%7",
            "https://api.example.com/%+1",
            "https://api.example.com/%zz",
        ] {
            assert!(ExternalUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn compares_scheme_host_and_port_of_origins() {
        let has_origin_of = |url: &str, other: &str| {
            ExternalUrl::parse(url).unwrap().has_origin_of(&ExternalUrl::parse(other).unwrap())
        };
        assert!(has_origin_of("https://api.example.com", "https://API.example.com:443/svc2/a"));
        assert!(has_origin_of("http://[::1]:8080/a", "http://[0:0:0:0:0:0:0:1]:8080/b"));
        for other in [
            "http://api.example.com",
            "https://api.example.com:8443",
            "https://api.example.com.evil",
            "https://api.example.co",
            "https://evil/api.example.com",
        ] {
            assert!(!has_origin_of("https://api.example.com", other), "{other}");
            assert!(!has_origin_of(other, "https://api.example.com"), "{other}");
        }
    }

    /// RFC 3986 §5.4, as far as it concerns absolute paths.
    #[test]
    fn removes_dot_segments_as_rfc_3986_section_5_2_4() {
        for (path, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/b/c/./g", "/b/c/g"),
            ("/b/c/.", "/b/c/"),
            ("/b/c/..", "/b/"),
            ("/b/c/../..", "/"),
            ("/b/c/../../../g", "/g"),
            ("/b/c/g.", "/b/c/g."),
            ("/b/c/..g", "/b/c/..g"),
            ("/b/c/g;x=1/../y", "/b/c/y"),
            ("/..", "/"),
            ("/.", "/"),
            ("/", "/"),
            ("//", "//"),
            ("/a//../b", "/a/b"),
        ] {
            assert_eq!(without_dot_segments(path), expected, "{path}");
        }
    }
}
