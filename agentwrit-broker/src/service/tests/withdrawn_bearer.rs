//! Operations whose token was verified before they ran, and is not valid any more when they run.

use std::{convert::Infallible, fs};

use agentwrit_verify::{ClaimSet, TokenId, UnverifiedToken, issue};
use axum::body::{Body, to_bytes};
use futures_util::stream;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use tower::ServiceExt as _;

use super::{
    brokers::registration,
    key_operations::{author, kid_of},
    keys::{end, rotate},
    *,
};
use crate::{
    audit::Outcome,
    domain::KeyState,
    http::{Edge, router},
    service::keys::KeyOperation,
};

/// A request whose token was accepted, and whose body the broker waits for.
struct SlowRequest {
    path: &'static str,
    rest: oneshot::Sender<()>,
    response: JoinHandle<StatusCode>,
}

impl SlowRequest {
    async fn begin(services: &Arc<Services>, path: &'static str, token: &str, body: Value) -> Self {
        let (accepted, reading) = oneshot::channel();
        let (rest, completed) = oneshot::channel();
        let body = stream::once(async move {
            accepted.send(()).unwrap();
            completed.await.unwrap();
            Ok::<_, Infallible>(body.to_string())
        });
        let request = Request::post(path)
            .header("host", "broker.test")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::from_stream(body)).unwrap();
        let router = router(Arc::clone(services), Edge::for_tests(services));
        let response = tokio::spawn(async move {
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            to_bytes(response.into_body(), 1 << 20).await.unwrap();
            status
        });
        reading.await.unwrap();
        Self { path, rest, response }
    }

    async fn complete(self) -> (&'static str, StatusCode) {
        self.rest.send(()).unwrap();
        (self.path, self.response.await.unwrap())
    }
}

async fn events(services: &Services) -> Vec<Event> {
    services.ledger.read(|reader| Ok::<_, Error>(reader.audit_events_after(0, 10_000)?)).await.unwrap()
}

/// Registers an agent with the operator's permission.
async fn agent(services: &Services) -> String {
    let secret = services.launch_tokens.issue(Subject::Admin, None, launch_policy(true), CLIENT).await.unwrap().1;
    services.registrations.register(registration(services, &secret), None, CLIENT).await.unwrap().1.access_token
}

/// Begins requests at one broker, withdraws the key of their tokens at another (or the same), and completes them.
pub(super) async fn rejects_requests_begun_before_withdrawal(serving: &Arc<Services>, withdrawing: &Arc<Services>) {
    let operator = serving.logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let (holder, delegate) = (agent(serving).await, agent(serving).await);
    let delegate_to = serving.verifier.verify(&delegate).unwrap().subject().to_string();
    let kid = kid_of(&operator);
    let mut begun = Vec::new();
    for (path, token, body) in [
        ("/v1/token/renew", &holder, json!({})),
        ("/v1/delegate", &holder, json!({ "delegate_to": delegate_to, "scope": [SCOPE] })),
        ("/v1/admin/apps", &operator, json!({ "name": "backdoor", "scopes": [SCOPE] })),
        ("/v1/admin/launch-tokens", &operator, json!({ "agent_name": "late", "allowed_scope": [SCOPE] })),
        ("/v1/admin/keys", &operator, json!({})),
        ("/v1/admin/keys/rotate", &operator, json!({})),
        ("/v1/admin/verifiers", &operator, json!({ "name": "late", "public_key": PUBLIC_KEY })),
        ("/v1/revoke", &operator, json!({ "level": "task", "target": "task" })),
    ] {
        begun.push(SlowRequest::begin(serving, path, token, body).await);
    }
    withdrawing.keys.change(KeyOperation::Withdraw { kid }, author(None)).await.unwrap();
    let before = events(serving).await.len();
    for request in begun {
        let (path, status) = request.complete().await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let changes = events(serving).await.into_iter().skip(before).filter(|event| event.outcome == Outcome::Success);
    assert_eq!(changes.map(|event| event.event_type).collect::<Vec<_>>(), []);
}

/// Of RFC 8032 §7.1, test 1.
const PUBLIC_KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

#[tokio::test]
async fn request_begun_before_withdrawal_of_its_key_is_rejected_when_its_body_arrives() {
    let test = TestServices::new().await;
    rejects_requests_begun_before_withdrawal(&test.services, &test.services).await;
}

#[tokio::test]
async fn rejects_renewal_and_delegation_when_key_of_chain_is_withdrawn() {
    let test = TestServices::new().await;
    let (first, second) = (test.enrol("task", 600).await, test.enrol("task", 600).await);
    let delegated = test.delegate(&test.bearer(&first.token), &second, 300).await.unwrap().access_token;
    let [former, next] = rotate(&test.services).await;
    let renewed = test.renew(&test.bearer(&delegated)).await.unwrap().access_token;
    assert_eq!(kid_of(&renewed), next);
    let bearer = test.bearer(&renewed);
    end(&test.services, &former, KeyState::Withdrawn).await;
    assert_eq!(test.delegate(&bearer, &first, 60).await.unwrap_err(), Error::TokenEnded);
    assert_eq!(test.renew(&bearer).await.unwrap_err(), Error::RenewalFailed);
}

#[tokio::test]
async fn release_after_withdrawal_of_key_changes_nothing() {
    let test = TestServices::new().await;
    let bearer = test.bearer(&test.enrol("task", 600).await.token);
    let [former, _] = rotate(&test.services).await;
    end(&test.services, &former, KeyState::Withdrawn).await;
    let before = test.trail().await.len();
    assert_eq!(test.services.tokens.release(bearer, CLIENT).await, Ok(()));
    assert_eq!(test.trail().await.len(), before);
}

impl TestServices {
    /// Verifies a token that the holder of the signing key signs.
    fn forge(&self, claims: &ClaimSet) -> Bearer {
        let key = issue::SigningKey::from_pkcs8_pem(&fs::read(&self.config.signing_key_path).unwrap()).unwrap();
        let token = key.sign_token(claims);
        assert!(UnverifiedToken::decode(&token).is_ok());
        self.bearer(&token)
    }
}

#[tokio::test]
async fn rejects_forged_claims_under_jti_of_live_token() {
    let test = TestServices::new().await;
    let holder = test.bearer(&test.enrol("task", 600).await.token).as_claim_set().clone();
    let operator = test.operator().await.as_claim_set().clone();
    let sid = TokenId::from_bytes([1; 16]);
    let (iat, exp) = (operator.iat - 1, operator.exp + 1);
    let of_holder = ClaimSet { jti: holder.jti, sid: holder.sid, ..operator.clone() };
    let forged = [
        ("subject", of_holder),
        ("session", ClaimSet { sid, ..operator.clone() }),
        ("issue time", ClaimSet { iat, ..operator.clone() }),
        ("expiry", ClaimSet { exp, ..operator.clone() }),
    ];
    let create = async |claims: &ClaimSet| {
        let (name, scopes) = (AppName::parse("an-app").unwrap(), ScopeSet::parse([SCOPE]).unwrap());
        let app = NewApp { name, scopes, token_ttl: None, sender_constrained: false };
        test.services.apps.create(Some(test.forge(claims)), app, CLIENT).await.map(drop)
    };
    for (member, claims) in forged {
        assert_eq!(create(&claims).await, Err(Error::TokenEnded), "{member}");
    }
    assert_eq!(create(&operator).await, Ok(()));
    let longer = ClaimSet { exp: holder.exp + 3600, ..holder.clone() };
    assert_eq!(test.renew(&test.forge(&longer)).await.unwrap_err(), Error::RenewalFailed);
    let delegate = test.enrol("task", 600).await;
    assert_eq!(test.delegate(&test.forge(&longer), &delegate, 60).await.unwrap_err(), Error::TokenEnded);
    test.renew(&test.forge(&holder)).await.unwrap();
}
