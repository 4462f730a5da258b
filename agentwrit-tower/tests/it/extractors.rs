//! `Verified`, `Agent`, `GrantedIdentifiers` and their optional forms as arguments of handlers.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{AppId, ClaimSet, Subject};
use agentwrit_tower::{Agent, Authenticate, GrantedIdentifiers, Misconfiguration, Rejection, RequireScope, Verified};
use axum::Router;
use axum::routing::get;
use http::StatusCode;

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{mistake, send};

async fn whoami(who: Verified) -> String {
    format!("{} {}", who.subject(), who.token_id())
}

async fn maybe(who: Option<Verified>) -> String {
    who.map_or_else(|| "nobody".to_owned(), |who| who.subject().to_string())
}

#[tokio::test]
async fn a_handler_gets_the_claims() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/me", get(whoami)).layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["read:data:7"]);
    let answer = send(&app, get_as("/me", &issuer.sign(&claims))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(std::str::from_utf8(&answer.body).unwrap(), format!("{} {}", claims.sub, claims.jti));
}

#[tokio::test]
async fn without_a_layer_it_is_500() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/me", get(whoami));
    let answer = send(&app, get_as("/me", &issuer.token(&["read:data:7"]))).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(
        answer.json(),
        mistake(
            "the handler wants the claims of a token, and no `Authenticate` or `RequireScope` layer is around it",
            "/me"
        )
    );
    assert_eq!(answer.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoClaims)));
}

#[tokio::test]
async fn an_optional_one_is_none_without_a_layer_and_the_claims_with_one() {
    let issuer = TestIssuer::new();
    let open = Router::new().route("/", get(maybe));
    assert_eq!(&*send(&open, get_without_token("/")).await.body, b"nobody");

    let closed = open.layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["read:data:7"]);
    let answer = send(&closed, get_as("/", &issuer.sign(&claims))).await;
    assert_eq!(std::str::from_utf8(&answer.body).unwrap(), claims.sub.to_string());
    assert_eq!(send(&closed, get_without_token("/")).await.status, StatusCode::UNAUTHORIZED);
}

async fn agent(Agent(agent): Agent) -> String {
    agent.to_string()
}

async fn maybe_agent(agent: Option<Agent>) -> String {
    agent.map_or_else(|| "nobody".to_owned(), |agent| agent.to_string())
}

/// The token of an application, which is no agent.
fn of_an_app(issuer: &TestIssuer) -> String {
    let app = AppId::parse("app-web-0123ab").unwrap();
    issuer.sign(&ClaimSet { sub: Subject::App(app), task_id: None, orch_id: None, ..issuer.claims(&["read:data:7"]) })
}

#[tokio::test]
async fn the_agent_is_whom_the_token_speaks_for() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/", get(agent)).layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["read:data:7"]);
    let answer = send(&app, get_as("/", &issuer.sign(&claims))).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, claims.sub.to_string().as_bytes()));
}

#[tokio::test]
async fn who_is_no_agent_is_403() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/", get(agent)).layer(Authenticate::new(issuer.verifier()));
    let answer = send(&app, get_as("/", &of_an_app(&issuer))).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="agentwrit", error="insufficient_scope""#));
    assert_eq!(answer.json()["detail"], "only an agent may do this");
    assert_eq!(answer.json()["error_code"], "insufficient_scope");
    let rejection = answer.extensions.get::<Rejection>().unwrap();
    assert_eq!(
        (rejection.reason(), rejection.subject().unwrap().to_string()),
        ("not_an_agent", "app:app-web-0123ab".into())
    );
}

#[tokio::test]
async fn an_optional_agent_is_none_for_everyone_else() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/", get(maybe_agent));
    assert_eq!(&*send(&app, get_without_token("/")).await.body, b"nobody");
    let app = app.layer(Authenticate::optional(issuer.verifier()));
    assert_eq!(&*send(&app, get_without_token("/")).await.body, b"nobody");
    assert_eq!(&*send(&app, get_as("/", &of_an_app(&issuer))).await.body, b"nobody");
    let claims = issuer.claims(&["read:data:7"]);
    assert_eq!(&*send(&app, get_as("/", &issuer.sign(&claims))).await.body, claims.sub.to_string().as_bytes());
}

#[tokio::test]
async fn each_names_the_layer_that_it_misses() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:7"]);
    let app = Router::new()
        .route("/agent", get(agent))
        .route("/granted", get(async |_: GrantedIdentifiers| "granted"))
        .route("/kind", get(async |_: GrantedIdentifiers| "granted").layer(RequireScope::new("read:data:7")));
    for (path, mistake) in
        [("/agent", Misconfiguration::NoClaims), ("/granted", Misconfiguration::NoGrantedIdentifiers)]
    {
        let answer = send(&app, get_as(path, &token)).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(answer.extensions.get(), Some(&Rejection::Misconfigured(mistake)), "{path}");
    }
    // One scope is not a kind: nothing was found out that a listing could be cut down by.
    let app = app.layer(Authenticate::new(issuer.verifier()));
    let answer = send(&app, get_as("/kind", &token)).await;
    assert_eq!(answer.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoGrantedIdentifiers)));
}
