//! A rejection as gRPC wants it: HTTP 200, and the verdict in a `grpc-status` header ("Trailers-Only").

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, TE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, Version};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Everything but `%x20-24` and `%x26-7E`, says the gRPC specification.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The canonical codes that a rejection may have.
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

/// The request's content type if it is a call of gRPC: a `POST` of `application/grpc`, `application/grpc+proto` … over
/// HTTP/2 with `te: trailers`, which the gRPC specification requires.
///
/// Any other request must not get the HTTP 200 of gRPC's rejections: proxies that ask whether to let a request through
/// (nginx's `auth_request`, Traefik's `forwardAuth`) hand on its content type and go by the status, and so do clients that
/// can't read trailers.
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

/// The trailers of a response whose token no longer counts.
#[cfg(feature = "long-responses")]
pub(crate) fn ended(error: &agentwrit_verify::VerifyError) -> http::HeaderMap {
    let (code, message) = if error.is_unavailable() {
        (Code::Unavailable, "tokens cannot be verified at present")
    } else {
        (Code::Unauthenticated, "the token has ended")
    };
    [(GRPC_STATUS, code.number()), (GRPC_MESSAGE, HeaderValue::from_static(message))].into_iter().collect()
}

/// The whole answer of a call that goes no further.
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
