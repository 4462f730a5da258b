//! Parser of the `Authorization` header, RFC 6750 §2.1 and RFC 9449 §7.1.

use agentwrit_verify::proof::Scheme;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::rejection::CredentialsError;

/// Scheme and token of the request's one `Authorization` header. The characters of the token are not checked: a verified
/// token is a `token68`, and the caller distinguishes a malformed header from an invalid token by [`is_token68`].
pub(crate) fn token(headers: &HeaderMap) -> Result<(Scheme, &str), CredentialsError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(CredentialsError::Missing)?;
    if values.next().is_some() {
        // Two credentials: a proxy in front might have judged the one that is not chosen here.
        return Err(CredentialsError::Repeated);
    }
    parse(value.as_bytes()).ok_or(CredentialsError::Malformed)
}

/// Parses `Bearer` or `DPoP`, in any case, one space or more, and the rest.
fn parse(credentials: &[u8]) -> Option<(Scheme, &str)> {
    let text = std::str::from_utf8(credentials).ok()?;
    // Byte by byte: the scheme is short, and a search for a `char` is made for long texts.
    let end = credentials.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = text.split_at_checked(end)?;
    Some((Scheme::parse(scheme)?, rest.trim_start_matches(' ')))
}

/// Checks RFC 9110 §11.2: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
pub(crate) fn is_token68(text: &str) -> bool {
    let unpadded = text.trim_end_matches('=').as_bytes();
    // A fold, not `all`: without an early exit the compiler checks many bytes at a time.
    !unpadded.is_empty() && unpadded.iter().fold(true, |so_far, &byte| so_far & is_token68_byte(byte))
}

fn is_token68_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn token(headers: &HeaderMap) -> Result<(Scheme, &str), CredentialsError> {
        let found = super::token(headers)?;
        if is_token68(found.1) { Ok(found) } else { Err(CredentialsError::Malformed) }
    }

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn accepts_scheme_in_any_case() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            let headers = headers(&[format!("{scheme} a.b-c_d").as_bytes()]);
            assert_eq!(token(&headers), Ok((Scheme::Bearer, "a.b-c_d")));
        }
        for scheme in ["DPoP", "dpop", "DPOP"] {
            let headers = headers(&[format!("{scheme} a.b-c_d").as_bytes()]);
            assert_eq!(token(&headers), Ok((Scheme::Dpop, "a.b-c_d")));
        }
    }

    #[test]
    fn accepts_several_spaces_before_token() {
        assert_eq!(token(&headers(&[b"Bearer    a.b.c"])), Ok((Scheme::Bearer, "a.b.c")));
    }

    #[test]
    fn rejects_characters_after_padding() {
        assert_eq!(token(&headers(&[b"Bearer abc=="])), Ok((Scheme::Bearer, "abc==")));
        assert_eq!(token(&headers(&[b"Bearer ab=c"])), Err(CredentialsError::Malformed));
    }

    #[test]
    fn rejects_malformed_credentials() {
        let malformed: &[&[u8]] = &[
            b"",
            b" ",
            b"Bearer",
            b"Bearer ",
            b"Bearer    ",
            b"Bearer =",
            b"Bearer\ta.b.c",
            b"Bearer a.b.c ",
            b"Bearer a.b.c, Bearer d.e.f",
            b"Bearer a b",
            b"Bearer \"a.b.c\"",
            b"Bearer a:b",
            b"Bearer token=a.b.c",
            b"Bearer caf\xc3\xa9",
            b"Bearer \xff",
            b" Bearer a.b.c",
            b"Bearera.b.c",
            b"Basic dXNlcjpwYXNz",
            b"a.b.c",
        ];
        for value in malformed {
            assert_eq!(
                token(&headers(&[value])),
                Err(CredentialsError::Malformed),
                "{:?}",
                value.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn rejects_absent_and_repeated_headers() {
        assert_eq!(token(&headers(&[])), Err(CredentialsError::Missing));
        assert_eq!(token(&headers(&[b"Bearer a.b.c", b"Bearer a.b.c"])), Err(CredentialsError::Repeated));
        assert_eq!(token(&headers(&[b"Basic eA==", b"Bearer a.b.c"])), Err(CredentialsError::Repeated));
    }
}
