//! `Verified`, `Agent`, `GrantedIdentifiers` and their optional forms as arguments of handlers.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{AppId, ClaimSet, Subject};
use agentwrit_tower::{Agent, Authenticate, GrantedIdentifiers, Misconfiguration, Rejection, RequireScope, Verified};
use axum::Router;
use axum::routing::get;
use http::StatusCode;

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{mistake, send};

async fn whoami(caller: Verified) -> String {
    format!("{} {}", caller.subject(), caller.token_id())
}

async fn maybe(caller: Option<Verified>) -> String {
    caller.map_or_else(|| "unauthenticated".to_owned(), |caller| caller.subject().to_string())
}

#[tokio::test]
async fn extracts_claims() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/me", get(whoami)).layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["read:data:7"]);
    let response = send(&app, get_as("/me", &issuer.sign(&claims))).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(std::str::from_utf8(&response.body).unwrap(), format!("{} {}", claims.sub, claims.jti));
}

#[tokio::test]
async fn claims_without_layer_are_500() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/me", get(whoami));
    let response = send(&app, get_as("/me", &issuer.token(&["read:data:7"]))).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    assert_eq!(
        response.json(),
        mistake(
            "the handler wants the claims of a token, and no `Authenticate` or `RequireScope` layer is around it",
            "/me"
        )
    );
    assert_eq!(response.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoClaims)));
}

#[tokio::test]
async fn optional_claims_are_none_without_layer() {
    let issuer = TestIssuer::new();
    let open = Router::new().route("/", get(maybe));
    assert_eq!(&*send(&open, get_without_token("/")).await.body, b"unauthenticated");

    let closed = open.layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["read:data:7"]);
    let response = send(&closed, get_as("/", &issuer.sign(&claims))).await;
    assert_eq!(std::str::from_utf8(&response.body).unwrap(), claims.sub.to_string());
    assert_eq!(send(&closed, get_without_token("/")).await.status, StatusCode::UNAUTHORIZED);
}

async fn agent(Agent(agent): Agent) -> String {
    agent.to_string()
}

async fn maybe_agent(agent: Option<Agent>) -> String {
    agent.map_or_else(|| "unauthenticated".to_owned(), |agent| agent.to_string())
}

/// Returns the token of an app, which is not an agent.
fn app_token(issuer: &TestIssuer) -> String {
    let app = AppId::parse("app-web-0123ab").unwrap();
    issuer.sign(&ClaimSet { sub: Subject::App(app), task_id: None, orch_id: None, ..issuer.claims(&["read:data:7"]) })
}

#[tokio::test]
async fn extracts_agent_of_token() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/", get(agent)).layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["read:data:7"]);
    let response = send(&app, get_as("/", &issuer.sign(&claims))).await;
    assert_eq!((response.status, &*response.body), (StatusCode::OK, claims.sub.to_string().as_bytes()));
}

#[tokio::test]
async fn token_of_other_subject_is_403() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/", get(agent)).layer(Authenticate::new(issuer.verifier()));
    let response = send(&app, get_as("/", &app_token(&issuer))).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(response.header("www-authenticate"), Some(r#"Bearer realm="agentwrit", error="insufficient_scope""#));
    assert_eq!(response.json()["detail"], "only an agent may do this");
    assert_eq!(response.json()["error_code"], "insufficient_scope");
    let rejection = response.extensions.get::<Rejection>().unwrap();
    assert_eq!(
        (rejection.reason(), rejection.subject().unwrap().to_string()),
        ("not_an_agent", "app:app-web-0123ab".into())
    );
}

#[tokio::test]
async fn optional_agent_is_none_for_other_subjects() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/", get(maybe_agent));
    assert_eq!(&*send(&app, get_without_token("/")).await.body, b"unauthenticated");
    let app = app.layer(Authenticate::optional(issuer.verifier()));
    assert_eq!(&*send(&app, get_without_token("/")).await.body, b"unauthenticated");
    assert_eq!(&*send(&app, get_as("/", &app_token(&issuer))).await.body, b"unauthenticated");
    let claims = issuer.claims(&["read:data:7"]);
    assert_eq!(&*send(&app, get_as("/", &issuer.sign(&claims))).await.body, claims.sub.to_string().as_bytes());
}

#[tokio::test]
async fn extractors_name_missing_layer() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:7"]);
    let app = Router::new()
        .route("/agent", get(agent))
        .route("/granted", get(async |_: GrantedIdentifiers| "granted"))
        .route("/kind", get(async |_: GrantedIdentifiers| "granted").layer(RequireScope::new("read:data:7")));
    for (path, mistake) in
        [("/agent", Misconfiguration::NoClaims), ("/granted", Misconfiguration::NoGrantedIdentifiers)]
    {
        let response = send(&app, get_as(path, &token)).await;
        assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(response.extensions.get(), Some(&Rejection::Misconfigured(mistake)), "{path}");
    }
    // A layer that requires one scope leaves no identifiers to filter a listing by.
    let app = app.layer(Authenticate::new(issuer.verifier()));
    let response = send(&app, get_as("/kind", &token)).await;
    assert_eq!(response.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoGrantedIdentifiers)));
}
