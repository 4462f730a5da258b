//! Registrations that succeed.

use agentwrit_client::{Client, FileSource};
use agentwrit_e2e::{Broker, ProtectedService, payload};
use identity_provider::Algorithm;
use serde_json::json;

use crate::issuer::{Issuer, SCOPE, add_rule, details, now, register, register_with};

#[tokio::test]
async fn agent_with_id_token_of_each_algorithm_is_accepted_by_service() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let service = ProtectedService::start_without_reports(&broker.url, &[]).await;
    for (index, algorithm) in Algorithm::ALL.into_iter().enumerate() {
        let issuer = Issuer::start(algorithm);
        let app = broker.create_app(&admin, &format!("ci-jobs-{index}"), &[SCOPE]).await;
        let rule = add_rule(&broker, &admin, &issuer.rule(&format!("ci-{index}"), &app.app_id)).await;
        let registered = register(&broker, "oidc", &issuer.token()).await;
        assert_eq!(registered.status, 200, "{}", String::from_utf8_lossy(&registered.body));
        let body = registered.json();
        let (id, token) = (body["agent_id"].as_str().unwrap(), body["access_token"].as_str().unwrap());
        assert!(id.starts_with("spiffe://agentwrit.local/agent/acme-api/run-7/"), "{id}");
        let claims = payload(token);
        assert_eq!((&claims["orch_id"], &claims["task_id"]), (&json!("acme-api"), &json!("run-7")));
        assert_eq!((&claims["scope"], &body["expires_in"]), (&json!([SCOPE]), &json!(300)));
        assert_eq!(service.status_for(token).await, 200);
        let registrations = details(&broker, &admin, "agent_registered").await;
        let detail = registrations.last().unwrap();
        assert!(detail.contains(&format!("trust_rule_id={rule}")), "{detail}");
        assert!(detail.contains("repo:acme/api:ref:refs/heads/main"), "{detail}");
        assert_eq!(issuer.provider.fetches(), 1, "the key set is kept");
    }
}

#[tokio::test]
async fn agent_of_pod_registers_with_projected_token_and_no_secret() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Issuer::start(Algorithm::Rs256);
    let app = broker.create_app(&admin, "workers", &[SCOPE]).await;
    let rule = json!({
        "name": "workers", "app_id": app.app_id, "kind": "kubernetes", "issuer": issuer.url(),
        "jwks": {"keys": [issuer.key.jwk()]}, "audience": "agentwrit",
        "claims": {"sub": {"equals": "system:serviceaccount:prod:worker"}}, "allowed_scope": [SCOPE], "max_ttl": 60,
        "task_template": "{/kubernetes.io/pod/name}",
    });
    add_rule(&broker, &admin, &rule).await;
    let token = issuer.token_with(&json!({
        "sub": "system:serviceaccount:prod:worker", "aud": ["agentwrit"],
        "kubernetes.io": {
            "namespace": "prod", "pod": {"name": "worker-0", "uid": "5e0b1d3c-6f0a-4a7e-9a55-0d6f2f1b7c11"},
            "serviceaccount": {"name": "worker", "uid": "0b54a1a7-88a1-4b06-8f1a-0f6d1b2c3d4e"},
        },
    }));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, token).unwrap();

    let workload = Client::new(&broker.url).unwrap().attested(FileSource::kubernetes(&path));
    let request = workload.agent([SCOPE]).unwrap().orch_id("prod").unwrap();
    let agent = request.clone().create().await.unwrap();
    assert_eq!((agent.id().orch_id(), agent.id().task_id()), ("prod", "worker-0"));
    agent.renew().await.unwrap();
    agent.release().await.unwrap();
    assert_eq!(issuer.provider.fetches(), 0, "the key set is in the rule");
    let again = request.create().await.unwrap_err();
    assert!(again.to_string().contains("each counts once"), "{again}");
}

#[tokio::test]
async fn agent_with_jwt_svid_registers_within_trust_domain() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Issuer::start(Algorithm::Es256);
    let app = broker.create_app(&admin, "payments", &[SCOPE]).await;
    let mut jwk = issuer.key.jwk();
    jwk["use"] = json!("jwt-svid");
    let rule = json!({
        "name": "mesh", "app_id": app.app_id, "kind": "spiffe", "issuer": "spiffe://example.org",
        "jwks": {"keys": [jwk]}, "audience": "agentwrit",
        "claims": {"sub": {"prefix": "spiffe://example.org/ns/payments/"}}, "allowed_scope": [SCOPE], "max_ttl": 60,
    });
    add_rule(&broker, &admin, &rule).await;
    let svid = |subject: &str| {
        issuer.key.token(&json!({"sub": subject, "aud": ["agentwrit"], "iat": now(), "exp": now() + 300}))
    };
    let ids = json!({"orch_id": "payments", "task_id": "worker"});
    let worker = svid("spiffe://example.org/ns/payments/worker");
    let registered = register_with(&broker, "spiffe", &worker, &ids).await;
    assert_eq!(registered.status, 200, "{}", String::from_utf8_lossy(&registered.body));
    for subject in ["spiffe://example.org/ns/billing/worker", "spiffe://example.com/ns/payments/worker"] {
        let refused = register_with(&broker, "spiffe", &svid(subject), &ids).await;
        refused.refused(401, "unauthorized", "attestation failed");
    }
}

#[tokio::test]
async fn ids_of_templates_cannot_be_chosen() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Issuer::start(Algorithm::EdDsa);
    issuer.trusted_by(&broker, &admin).await;
    let token = issuer.token();
    let named = |orch: &str, task: &str| json!({"orch_id": orch, "task_id": task});
    for (members, field) in [(named("acme-api", "run-8"), "task_id"), (named("other", "run-7"), "orch_id")] {
        let refused = register_with(&broker, "oidc", &token, &members).await;
        refused.refused(403, "scope_violation", &format!("the attestation is for another {field}"));
    }
    let registered = register_with(&broker, "oidc", &token, &named("acme-api", "run-7")).await;
    assert_eq!(registered.status, 200, "the refusals used nothing up");
}
