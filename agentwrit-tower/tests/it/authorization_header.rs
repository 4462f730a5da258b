//! Parsing of the `Authorization` header: exactly one `Bearer <token>`, RFC 6750 §2.1.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{CredentialsError, Rejection, RequireScope};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use tower_layer::Layer;

use crate::support::{CollectedResponse, Inner, NO_TOKEN, get_without_token, send};

async fn send_with(values: &[Vec<u8>]) -> CollectedResponse {
    let issuer = TestIssuer::new();
    send_from(&issuer, values).await
}

async fn send_from(issuer: &TestIssuer, values: &[Vec<u8>]) -> CollectedResponse {
    let service = RequireScope::new("read:data:*").verifier(issuer.verifier()).layer(Inner::default().service());
    let mut request: Request<Full<Bytes>> = get_without_token("/data");
    for value in values {
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
    }
    send(&service, request).await
}

#[tokio::test]
async fn accepts_scheme_in_any_case() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:*"]);
    for scheme in ["Bearer", "bearer", "BEARER", "bEARER"] {
        let response = send_from(&issuer, &[format!("{scheme} {token}").into_bytes()]).await;
        assert_eq!(response.status, StatusCode::OK, "{scheme}");
    }
}

#[tokio::test]
async fn malformed_header_is_no_token() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:*"]);
    let malformed = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer\t{token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer \"{token}\""),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("Bearer{token}"),
        token,
    ];
    for value in malformed {
        let response = send_from(&issuer, &[value.clone().into_bytes()]).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{value}");
        assert_eq!(response.header("www-authenticate"), Some(NO_TOKEN), "{value}");
        assert_eq!(response.extensions.get(), Some(&Rejection::NoToken(CredentialsError::Malformed)), "{value}");
    }
}

#[tokio::test]
async fn header_of_non_utf8_bytes_is_no_token() {
    let response = send_with(&[b"Bearer \xff\xfe".to_vec()]).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    assert_eq!(response.header("www-authenticate"), Some(NO_TOKEN));
}

#[tokio::test]
async fn two_equal_headers_are_no_token() {
    let issuer = TestIssuer::new();
    let value = format!("Bearer {}", issuer.token(&["read:data:*"])).into_bytes();
    let response = send_from(&issuer, &[value.clone(), value]).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    assert_eq!(response.header("www-authenticate"), Some(NO_TOKEN));
    assert_eq!(response.extensions.get(), Some(&Rejection::NoToken(CredentialsError::Repeated)));
}
