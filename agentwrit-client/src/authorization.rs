//! `Authorization` headers with a token.

use agentwrit_protocol::{Secret, TokenType};
use http::HeaderValue;

/// Returns the `Authorization` header of a bearer token.
pub(crate) fn bearer(token: &Secret) -> Option<HeaderValue> {
    authorization(token, false)
}

/// Returns the `Authorization` header for `token`: hidden in `Debug`, never indexed by HPACK, wiped with its last
/// clone.
pub(crate) fn authorization(token: &Secret, bound: bool) -> Option<HeaderValue> {
    let scheme = if bound { TokenType::Dpop } else { TokenType::Bearer };
    let credentials = zeroize::Zeroizing::new(format!("{scheme} {}", token.expose()).into_bytes());
    let mut header = HeaderValue::from_maybe_shared(bytes::Bytes::from_owner(credentials)).ok()?;
    header.set_sensitive(true);
    Some(header)
}
