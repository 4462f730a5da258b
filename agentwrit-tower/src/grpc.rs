//! Rejections of gRPC calls: HTTP 200 with the code in a `grpc-status` header ("Trailers-Only").

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, TE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, Version};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Characters that the gRPC specification has escaped: all but `%x20-24` and `%x26-7E`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Canonical codes that a rejection may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidArgument,
    PermissionDenied,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl Code {
    fn number(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::InvalidArgument => "3",
            Self::PermissionDenied => "7",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        })
    }
}

/// Returns the content type of a gRPC call: a `POST` of `application/grpc`, `application/grpc+proto` … over HTTP/2 with
/// `te: trailers`, which the gRPC specification requires.
///
/// Any other request must not get the HTTP 200 of gRPC's rejections: proxies that send an authorization request of
/// their own (nginx's `auth_request`, Traefik's `forwardAuth`) forward the content type and act on the status, and so
/// do clients that cannot read trailers.
pub(crate) fn content_type(head: &Parts) -> Option<&HeaderValue> {
    let takes_trailers =
        head.headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if head.method != Method::POST || head.version != Version::HTTP_2 || !takes_trailers {
        return None;
    }
    head.headers.get(CONTENT_TYPE).filter(|value| is_grpc(value.as_bytes()))
}

pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    let Some(prefix) = content_type.get(..b"application/grpc".len()) else { return false };
    let ends = matches!(content_type.get(prefix.len()), None | Some(b'+' | b'-' | b';' | b' '));
    prefix.eq_ignore_ascii_case(b"application/grpc") && ends
}

/// Trailers of a response whose token has ended.
#[cfg(feature = "long-responses")]
pub(crate) fn ended(error: &agentwrit_verify::VerifyError) -> http::HeaderMap {
    let (code, message) = if error.is_unavailable() {
        (Code::Unavailable, "tokens cannot be verified at present")
    } else {
        (Code::Unauthenticated, "the token has ended")
    };
    [(GRPC_STATUS, code.number()), (GRPC_MESSAGE, HeaderValue::from_static(message))].into_iter().collect()
}

/// Response to a rejected call.
pub(crate) fn trailers_only(content_type: &HeaderValue, code: Code, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type.clone());
    headers.insert(GRPC_STATUS, code.number());
    let message = utf8_percent_encode(message, ESCAPED).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}
