//! Sources of a token, of which exactly one may hold it.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, CredentialsError, Rejection, RequireScope, TokenSource};
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use std::convert::Infallible;
use tower::service_fn;
use tower_layer::Layer;

use crate::support::{CollectedResponse, INVALID_TOKEN, Inner, NO_TOKEN, bearer, get_without_token, send};

async fn ask(issuer: &TestIssuer, sources: Vec<TokenSource>, headers: &[(HeaderName, String)]) -> CollectedResponse {
    let inner = Inner::default();
    let layer = RequireScope::new("read:data:7").verifier(issuer.verifier()).token_sources(sources);
    let mut request: Request<Full<Bytes>> = get_without_token("/data");
    for (name, value) in headers {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let response = send(&layer.layer(inner.service()), request).await;
    assert_eq!(inner.calls(), usize::from(response.status == StatusCode::OK));
    response
}

fn cookie(value: &str) -> (HeaderName, String) {
    (COOKIE, format!("theme=dark; token={value}"))
}

fn authorization(value: &str) -> (HeaderName, String) {
    (AUTHORIZATION, bearer(value))
}

#[tokio::test]
async fn ignores_cookie_unless_it_is_a_source() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:7"]);
    let response = ask(&issuer, vec![TokenSource::authorization()], &[cookie(&token)]).await;
    assert_eq!((response.status, response.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(NO_TOKEN)));
    let response = ask(&issuer, vec![TokenSource::cookie("token")], &[cookie(&token)]).await;
    assert_eq!(response.status, StatusCode::OK);
    // The header is ignored then.
    let response = ask(&issuer, vec![TokenSource::cookie("token")], &[authorization(&token)]).await;
    assert_eq!(response.extensions.get(), Some(&Rejection::NoToken(CredentialsError::Missing)));
}

#[tokio::test]
async fn takes_token_from_any_of_several_sources() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:7"]);
    let both = || vec![TokenSource::authorization(), TokenSource::cookie("token")];
    for headers in [[cookie(&token)], [authorization(&token)]] {
        assert_eq!(ask(&issuer, both(), &headers).await.status, StatusCode::OK);
    }
    let response = ask(&issuer, both(), &[cookie("a.b.c")]).await;
    assert_eq!((response.status, response.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(INVALID_TOKEN)));
    assert_eq!(ask(&issuer, both(), &[]).await.header("www-authenticate"), Some(NO_TOKEN));
}

#[tokio::test]
async fn tokens_in_two_sources_are_400() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:7"]);
    for (in_header, in_cookie) in [
        (bearer(&token), token.clone()),
        (bearer(&token), "a.b.c".to_owned()),
        (bearer("a.b.c"), token.clone()),
        (bearer(&token), "\"\"".to_owned()),
        ("Basic eDp5".to_owned(), token.clone()),
    ] {
        let sources = vec![TokenSource::authorization(), TokenSource::cookie("token")];
        let response = ask(&issuer, sources, &[(AUTHORIZATION, in_header), cookie(&in_cookie)]).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST);
        assert_eq!(response.header("www-authenticate"), Some(r#"Bearer realm="agentwrit", error="invalid_request""#));
        assert_eq!(response.extensions.get(), Some(&Rejection::MultipleTokens));
        assert_eq!(
            response.json(),
            json!({
                "type": "urn:agentwrit:error:invalid_request",
                "title": "Bad Request",
                "status": 400,
                "detail": "the request carries more than one token",
                "instance": "/data",
                "error_code": "invalid_request",
                "request_id": "req-1",
                "hint": "send the token in one way only",
            })
        );
    }
}

#[tokio::test]
async fn repeated_cookie_is_no_token() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:7"]);
    let response = ask(&issuer, vec![TokenSource::cookie("token")], &[cookie(&token), cookie(&token)]).await;
    assert_eq!((response.status, response.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(NO_TOKEN)));
    assert_eq!(response.extensions.get(), Some(&Rejection::NoToken(CredentialsError::RepeatedCookie)));
}

#[tokio::test]
async fn takes_token_from_custom_source() {
    let issuer = TestIssuer::new();
    let name = HeaderName::from_static("x-agent-token");
    let source = || TokenSource::custom(|head| head.headers.get("x-agent-token")?.to_str().ok().map(str::to_owned));
    let token = issuer.token(&["read:data:7"]);
    assert_eq!(ask(&issuer, vec![source()], &[(name.clone(), token)]).await.status, StatusCode::OK);
    let response = ask(&issuer, vec![source()], &[(name, "not a token".to_owned())]).await;
    assert_eq!(response.extensions.get(), Some(&Rejection::NoToken(CredentialsError::MalformedToken)));
    assert_eq!(ask(&issuer, vec![source()], &[]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn ignores_query_string() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(inner.service());
    let path = format!("/data?access_token={}", issuer.token(&["read:data:7"]));
    assert_eq!(send(&service, get_without_token(&path)).await.header("www-authenticate"), Some(NO_TOKEN));
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn layer_without_sources_finds_no_token() {
    let issuer = TestIssuer::new();
    let response = ask(&issuer, Vec::new(), &[authorization(&issuer.token(&["read:data:7"]))]).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn marks_cookie_header_sensitive() {
    let issuer = TestIssuer::new();
    let layer = Authenticate::new(issuer.verifier()).token_source(TokenSource::cookie("token"));
    let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("{:?}", request.headers().get(COOKIE)))))
    }));
    let mut request = get_without_token("/");
    request.headers_mut().insert(COOKIE, cookie(&issuer.token(&["read:data:7"])).1.parse().unwrap());
    assert_eq!(&*send(&service, request).await.body, b"Some(Sensitive)");
}
