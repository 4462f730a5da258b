//! Agents of Kubernetes pods.

use agentwrit_e2e::{Broker, ProtectedService};
use identity_provider::{Algorithm, ApiServer, Review};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::issuer::{Issuer, SCOPE, add_rule, refusals_after, register_with};

const POD: &str = "5e0b1d3c-6f0a-4a7e-9a55-0d6f2f1b7c11";
const OTHER_POD: &str = "c2b7f2b0-1d0e-4d8b-8a40-3a0f6d1f9e22";

/// Broker in a cluster with a fake API server.
struct Cluster {
    api: ApiServer,
    issuer: Issuer,
    broker: Broker,
    admin: String,
    _files: TempDir,
}

impl Cluster {
    async fn start(watch: bool) -> Self {
        let issuer = Issuer::start(Algorithm::Rs256);
        let own_token = issuer.token_with(&json!({"sub": "system:serviceaccount:agentwrit:broker"}));
        let api = ApiServer::start(&own_token);
        let files = tempfile::tempdir().unwrap();
        let token_path = files.path().join("token");
        std::fs::write(&token_path, own_token).unwrap();
        let broker = Broker::start_with(&[
            ("AA_KUBERNETES_API_URL", &api.url()),
            ("AA_KUBERNETES_TOKEN_PATH", token_path.to_str().unwrap()),
            ("AA_KUBERNETES_WATCH", if watch { "true" } else { "false" }),
        ])
        .await;
        let admin = broker.admin_token().await;
        Self { api, issuer, broker, admin, _files: files }
    }

    async fn trust(&self, token_review: bool) {
        let app = self.broker.create_app(&self.admin, "workers", &[SCOPE]).await;
        let rule = json!({
            "name": "workers", "app_id": app.app_id, "kind": "kubernetes", "issuer": self.issuer.url(),
            "jwks_url": self.issuer.provider.keys_url(), "audience": "agentwrit",
            "claims": {"/kubernetes.io/namespace": {"equals": "prod"}}, "allowed_scope": [SCOPE], "max_ttl": 300,
            "token_review": token_review,
        });
        add_rule(&self.broker, &self.admin, &rule).await;
    }

    fn token(&self, pod: &str) -> String {
        self.issuer.token_with(&json!({
            "sub": "system:serviceaccount:prod:worker",
            "kubernetes.io": {
                "namespace": "prod", "pod": {"name": format!("pod-{pod}"), "uid": pod},
                "serviceaccount": {"name": "worker", "uid": "0b54a1a7-88a1-4b06-8f1a-0f6d1b2c3d4e"},
            },
        }))
    }

    async fn register(&self, pod: &str) -> agentwrit_e2e::Response {
        let ids = json!({"orch_id": "prod", "task_id": "worker"});
        register_with(&self.broker, "kubernetes", &self.token(pod), &ids).await
    }

    async fn agent(&self, pod: &str) -> String {
        let registered = self.register(pod).await;
        assert_eq!(registered.status, 200, "{}", String::from_utf8_lossy(&registered.body));
        registered.json()["access_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn agents_of_deleted_pod_are_refused_by_service_and_those_of_others_not() {
    let cluster = Cluster::start(true).await;
    cluster.trust(false).await;
    cluster.api.add_pod(POD);
    cluster.api.add_pod(OTHER_POD);
    let service = ProtectedService::start_without_reports(&cluster.broker.url, &[]).await;
    let (first, second) = (cluster.agent(POD).await, cluster.agent(POD).await);
    let other = cluster.agent(OTHER_POD).await;
    for token in [&first, &second, &other] {
        assert_eq!(service.status_for(token).await, 200);
    }
    cluster.api.delete_pod(POD);
    service.until_status(&first, 401, &[200]).await;
    service.until_status(&second, 401, &[200]).await;
    assert_eq!(service.status_for(&other).await, 200);
    let revocations = cluster.broker.get("/v1/admin/revocations").bearer(&cluster.admin).await.json();
    let reasons: Vec<&Value> =
        revocations["revocations"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
    assert_eq!(reasons, [&json!(format!("pod {POD} was deleted")); 2]);
    cluster.register(POD).await.refused(401, "unauthorized", "attestation failed");
}

#[tokio::test]
async fn rule_with_token_review_needs_consent_of_api_server() {
    let cluster = Cluster::start(false).await;
    cluster.trust(true).await;
    cluster.register(POD).await.refused(401, "unauthorized", "attestation failed");
    cluster.api.review(Review::Error(500));
    assert_eq!(cluster.register(POD).await.status, 503);
    cluster.api.review(Review::Status(json!({
        "authenticated": true, "audiences": ["agentwrit"],
        "user": {"username": "system:serviceaccount:prod:worker", "uid": "0b54a1a7-88a1-4b06-8f1a-0f6d1b2c3d4e"},
    })));
    cluster.agent(POD).await;
    let refusals = refusals_after(0, &cluster.broker, &cluster.admin).await;
    assert!(refusals[0].contains("reason=token_review_rejected"), "{refusals:?}");
}
