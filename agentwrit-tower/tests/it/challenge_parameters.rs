//! Parameters that a service adds to challenges: `resource_metadata` of RFC 9728, for one.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, ChallengeParameterError, ChallengeParameters, RequireScope, Verified};
use axum::Router;
use axum::routing::get;
use http::{Response, StatusCode};

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{CollectedResponse, Inner, send};

const NAME: &str = "resource_metadata";
const METADATA: &str = "https://api.example/.well-known/oauth-protected-resource";

fn challenge(response: &CollectedResponse) -> &str {
    response.header("www-authenticate").unwrap()
}

#[tokio::test]
async fn parameter_is_on_every_challenge_only() {
    let issuer = TestIssuer::new();
    let layer = RequireScope::new("read:data:{id}").verifier(issuer.verifier()).challenge_parameter(NAME, METADATA);
    let app = Router::new().route("/{id}", get(Inner::default().handler())).layer(layer);
    let added = format!(r#"resource_metadata="{METADATA}""#);
    let token = issuer.token(&["read:data:8"]);
    for (request, challenged) in [
        (get_without_token("/7"), format!(r#"Bearer realm="agentwrit", {added}"#)),
        (get_as("/7", "a.b.c"), format!(r#"Bearer realm="agentwrit", error="invalid_token", {added}"#)),
        (
            get_as("/7", &token),
            format!(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="read:data:7", {added}"#),
        ),
    ] {
        assert_eq!(challenge(&send(&app, request).await), challenged);
    }
    for (path, status) in [("/8", StatusCode::OK), ("/*", StatusCode::BAD_REQUEST)] {
        let response = send(&app, get_as(path, &token)).await;
        assert_eq!((response.status, response.header("www-authenticate")), (status, None));
    }
}

#[tokio::test]
async fn inner_layers_inherit_and_replace_parameters() {
    let issuer = TestIssuer::new();
    let own =
        RequireScope::new("read:own:7").challenge_parameter("Resource_Metadata", "own").challenge_parameter("x", "y");
    for authenticate in [Authenticate::new(issuer.verifier()), Authenticate::optional(issuer.verifier())] {
        let app = Router::new()
            .route("/data", get(async || "data").layer(RequireScope::new("read:data:7")))
            .route("/own", get(async || "own").layer(own.clone()))
            .route("/who", get(async |_: Verified| "who"))
            .layer(authenticate.challenge_parameter(NAME, METADATA));
        let token = issuer.token(&["read:x:y"]);
        let insufficient = |scope: &str, added: &str| {
            format!(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="{scope}", {added}"#)
        };
        let added = format!(r#"resource_metadata="{METADATA}""#);
        assert_eq!(challenge(&send(&app, get_as("/data", &token)).await), insufficient("read:data:7", &added));
        let own = r#"Resource_Metadata="own", x="y""#;
        assert_eq!(challenge(&send(&app, get_as("/own", &token)).await), insufficient("read:own:7", own));
        let response = send(&app, get_without_token("/who")).await;
        assert_eq!(challenge(&response), format!(r#"Bearer realm="agentwrit", {added}"#));
    }
}

#[tokio::test]
async fn closure_adds_quoted_parameters_to_one_challenge() {
    let issuer = TestIssuer::new();
    let layer =
        Authenticate::new(issuer.verifier()).challenge_parameter(NAME, "of the layer").on_rejection(|_, head| {
            let mut response = Response::builder().header("www-authenticate", "None").body("words").unwrap();
            let hostile = format!(r#"{}", error="none\"#, head.uri.path());
            response.extensions_mut().insert(ChallengeParameters::new().with(NAME, &hostile).unwrap());
            response
        });
    let app = Router::new().route("/data", get(async || "data")).layer(layer);
    let response = send(&app, get_without_token("/data")).await;
    let expected = r#"Bearer realm="agentwrit", resource_metadata="/data\", error=\"none\\""#;
    assert_eq!((challenge(&response), &*response.body), (expected, &b"words"[..]));
}

#[test]
fn rejects_invalid_challenge_parameters() {
    let layer = || RequireScope::new("read:data:7");
    let error = layer().try_challenge_parameter("scope", "x").unwrap_err();
    assert_eq!(error, ChallengeParameterError::Reserved { name: "scope".to_owned() });
    let error = layer().try_challenge_parameter("a", "x\r\nset-cookie: y").unwrap_err();
    assert_eq!(error, ChallengeParameterError::Value { name: "a".to_owned(), character: '\r' });
    let twice = layer().challenge_parameter("a", "1").try_challenge_parameter("A", "2").unwrap_err();
    assert_eq!(twice, ChallengeParameterError::Repeated { name: "A".to_owned() });
    assert!(std::panic::catch_unwind(|| layer().challenge_parameter("a b", "x")).is_err());
}
