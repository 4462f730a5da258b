//! Agents of Kubernetes pods, from their attestation to the deletion of their pod.

use std::{collections::BTreeMap, path::PathBuf};

use agentwrit_protocol::{Attestation, AttestationKind, ClaimMatch, ClaimValue, JwkSetText, TrustRuleRequest};
use agentwrit_verify::AppId;
use identity_provider::{Algorithm, ApiServer, SigningKey as IssuerKey};
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    attestation::{KubernetesSettings, PodAgents as _, api_server_url},
    audit::EventType,
    domain::TrustRuleId,
};

const ISSUER: &str = "https://kubernetes.example";
const ACCOUNT: &str = "system:serviceaccount:prod:agent";
const AUDIENCE: &str = "https://broker.example";
const TIMEOUT: Duration = Duration::from_secs(30);

/// A token of a pod.
fn token(key: &IssuerKey, uid: &str, jti: &str, issued_at: u64) -> String {
    let own = json!({ "namespace": "prod", "pod": { "name": format!("agent-{uid}"), "uid": uid } });
    key.token(&json!({
        "iss": ISSUER, "sub": ACCOUNT, "aud": [AUDIENCE], "jti": jti, "iat": issued_at, "exp": issued_at + 600,
        "kubernetes.io": own,
    }))
}

/// The reason why an attestation was rejected.
fn reason(outcome: Result<(AgentId, Issued), Error>) -> &'static str {
    let error = outcome.unwrap_err();
    let (Error::AttestationFailed(failure) | Error::AttestationUnavailable(failure)) = error else {
        panic!("{error:?}")
    };
    failure.reason
}

/// A rule for [`ACCOUNT`] with one key.
fn rule(name: &str, app_id: AppId, key: &IssuerKey) -> TrustRuleRequest {
    let set = json!({ "keys": [key.jwk()] });
    TrustRuleRequest {
        name: name.to_owned(),
        app_id,
        kind: AttestationKind::Kubernetes,
        issuer: ISSUER.to_owned(),
        jwks_url: None,
        jwks: Some(JwkSetText::parse(set.to_string().as_bytes()).unwrap()),
        audience: AUDIENCE.to_owned(),
        claims: BTreeMap::from([("sub".to_owned(), ClaimMatch::Equals(ClaimValue::Text(ACCOUNT.to_owned())))]),
        allowed_scope: ScopeSet::parse([SCOPE]).unwrap(),
        max_ttl: 60,
        task_template: None,
        orch_template: None,
        token_review: false,
    }
}

/// A broker in a cluster with one rule, for [`ACCOUNT`].
struct Cluster {
    test: TestServices,
    server: ApiServer,
    key: IssuerKey,
    app: AppId,
    _files: TempDir,
}

impl Cluster {
    async fn new() -> Self {
        let (files, key) = (TempDir::new().unwrap(), IssuerKey::generate(Algorithm::Es256, "1"));
        let own_token = key.token(&json!({ "iss": ISSUER, "sub": "system:serviceaccount:broker:broker" }));
        let server = ApiServer::start(&own_token);
        let token_path = files.path().join("token");
        std::fs::write(&token_path, own_token).unwrap();
        let api_url = api_server_url(&server.url()).unwrap();
        let kubernetes = KubernetesSettings { api_url, token_path, ca_path: PathBuf::new(), watch: true };
        let test = TestServices::with(|config| config.attestation.kubernetes = Some(kubernetes)).await;
        let (app, _) = test.create_app().await;
        let rule = rule("cluster", app.app_id.clone(), &key);
        test.services.trust_rules.add(Subject::Admin, None, rule, CLIENT).await.unwrap();
        Self { test, server, key, app: app.app_id, _files: files }
    }

    /// Registers an agent of a pod with a new token of its.
    async fn register(&self, uid: &str, jti: &str) -> Result<(AgentId, Issued), Error> {
        self.register_with(&self.key, uid, jti).await
    }

    /// Starts the watch; returns when it has listed the pods.
    async fn watch(&self) -> JoinHandle<()> {
        let services = &self.test.services;
        let watch = tokio::spawn(services.attestor.watch(services.pods.clone()).unwrap().run());
        let listed = async {
            while self.server.lists_and_watches().1 == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(TIMEOUT, listed).await.unwrap();
        watch
    }

    /// Returns when none of these tokens is accepted.
    async fn revoked(&self, tokens: &[&Issued]) {
        let revoked = async {
            while tokens.iter().any(|token| self.is_accepted(&token.access_token)) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(TIMEOUT, revoked).await.unwrap();
    }

    async fn register_with(&self, key: &IssuerKey, uid: &str, jti: &str) -> Result<(AgentId, Issued), Error> {
        let now = self.test.services.ledger.now().seconds();
        self.register_token(token(key, uid, jti, now)).await
    }

    async fn register_token(&self, token: String) -> Result<(AgentId, Issued), Error> {
        let services = &self.test.services;
        let nonce = services.challenges.issue();
        let agent_key = SigningKey::from_bytes(&services.issuer.random());
        let request = RegistrationRequest {
            launch_token: None,
            attestation: Some(Attestation { kind: AttestationKind::Kubernetes, token: token.into() }),
            nonce: Presented::WellFormed(Hex(nonce)),
            public_key: Presented::WellFormed(Base64(agent_key.verifying_key().to_bytes())),
            signature: Presented::WellFormed(Base64(agent_key.sign(&nonce).to_bytes())),
            orch_id: Some(PathSegment::parse("orch").unwrap()),
            task_id: Some(PathSegment::parse("task").unwrap()),
            requested_scope: ScopeSet::parse([SCOPE]).unwrap(),
            sender_constrained: false,
        };
        services.registrations.register(request, None, CLIENT).await
    }

    fn is_accepted(&self, token: &str) -> bool {
        self.test.services.verifier.verify(token).is_ok()
    }
}

#[tokio::test]
async fn deleted_pod_ends_tokens_of_its_agents_and_attests_no_more() {
    let cluster = Cluster::new().await;
    for uid in ["uid-1", "uid-2"] {
        cluster.server.add_pod(uid);
    }
    let watch = cluster.watch().await;
    let (id, first) = cluster.register("uid-1", "1").await.unwrap();
    let (_, second) = cluster.register("uid-1", "2").await.unwrap();
    let (_, other) = cluster.register("uid-2", "3").await.unwrap();
    cluster.server.delete_pod("uid-1");
    cluster.revoked(&[&first, &second]).await;
    assert!(cluster.is_accepted(&other.access_token), "an agent of another pod");

    let trail = cluster.test.trail().await;
    let events: Vec<&Event> = trail.iter().filter(|event| event.event_type == EventType::TokenRevoked).collect();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.detail.contains("level=agent")), "{events:?}");
    assert!(events.iter().all(|event| event.detail.contains(" via=pod_watch")), "{events:?}");
    assert!(events.iter().all(|event| event.detail.contains("pod uid-1 was deleted")), "{events:?}");
    assert!(events.iter().any(|event| event.resource.as_deref() == Some(id.as_str())), "{events:?}");

    // The pod's service account still has tokens that are valid by themselves.
    assert_eq!(reason(cluster.register("uid-1", "4").await), "pod_deleted");
    cluster.register("uid-2", "5").await.unwrap();
    cluster.server.end_watches(false);
    watch.abort();
}

#[tokio::test]
async fn second_broker_revokes_nothing_again() {
    let cluster = Cluster::new().await;
    cluster.watch().await.abort();
    cluster.register("uid-1", "1").await.unwrap();
    let pods = &cluster.test.services.pods;
    let known = pods.pods().await.unwrap();
    assert_eq!(known.len(), 1);
    let (rule, uids) = &known[0];
    assert_eq!((rule.name.as_str(), uids.as_slice()), ("cluster", &["uid-1".to_owned()][..]));
    let other = TrustRuleId::new(&rule.name, [0; 3]);
    assert_eq!(pods.revoke("uid-1", Some(&other)).await.unwrap(), 0);
    assert_eq!(pods.revoke("uid-1", Some(&rule.id)).await.unwrap(), 1);
    assert_eq!(pods.revoke("uid-1", None).await.unwrap(), 0);
    assert_eq!(pods.pods().await.unwrap(), []);
}

#[tokio::test]
async fn list_leaves_agents_of_other_cluster_with_same_issuer() {
    let cluster = Cluster::new().await;
    let (services, other_key) = (&cluster.test.services, IssuerKey::generate(Algorithm::Es256, "1"));
    let app = cluster.app.clone();
    services.trust_rules.add(Subject::Admin, None, rule("other", app, &other_key), CLIENT).await.unwrap();
    cluster.server.add_pod("uid-gone");
    let watch = cluster.watch().await;
    let (_, of_other) = cluster.register_with(&other_key, "uid-of-other-cluster", "1").await.unwrap();
    let (_, gone) = cluster.register("uid-gone", "2").await.unwrap();
    cluster.server.delete_pod_unseen("uid-gone");
    cluster.server.expire();
    cluster.revoked(&[&gone]).await;
    assert!(cluster.is_accepted(&of_other.access_token));
    cluster.register_with(&other_key, "uid-of-other-cluster", "3").await.unwrap();
    cluster.server.end_watches(false);
    watch.abort();
}

#[tokio::test]
async fn token_of_pod_deleted_before_start_registers_no_agent() {
    let cluster = Cluster::new().await;
    // The tokens were issued before the broker started; only one of the pods exists still.
    let issued_at = cluster.test.services.ledger.now().seconds();
    let register = async |uid: &str, jti: &str| {
        let token = token(&cluster.key, uid, jti, issued_at);
        cluster.register_token(token).await
    };
    cluster.server.add_pod("uid-1");
    cluster.test.clock.advance(Duration::from_secs(10));
    // Nothing is known before the first list.
    let refused = register("uid-1", "1").await;
    assert!(matches!(refused, Err(Error::AttestationUnavailable(_))), "{refused:?}");
    let watch = cluster.watch().await;
    register("uid-1", "1").await.unwrap();
    assert_eq!(reason(register("uid-2", "2").await), "pod_deleted");
    // A pod that is newer than the list.
    cluster.register("uid-3", "3").await.unwrap();
    cluster.server.end_watches(false);
    watch.abort();
}
