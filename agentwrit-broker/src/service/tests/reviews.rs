//! Reviews of assertions by the API server: after every check that costs it nothing.

use agentwrit_protocol::{Attestation, AttestationKind, ClaimMatch, Secret, TrustRuleRequest};
use identity_provider::{ApiServer, Review};
use serde_json::json;

use super::*;
use crate::{
    attestation::{KubernetesSettings, api_server_url},
    service::registration::tests::{assertion, reason, registration, rule_request},
};

const ACCOUNT: &str = "system:serviceaccount:prod:agent";

/// A broker with an API server, and a rule with `token_review`.
struct Reviewing {
    test: TestServices,
    server: ApiServer,
    _files: TempDir,
}

impl Reviewing {
    async fn new() -> Self {
        let (files, server) = (TempDir::new().unwrap(), ApiServer::start("own-token"));
        let token_path = files.path().join("token");
        std::fs::write(&token_path, "own-token").unwrap();
        let (api_url, ca_path) = (api_server_url(&server.url()).unwrap(), files.path().join("ca.crt"));
        let kubernetes = KubernetesSettings { api_url, token_path, ca_path, watch: false };
        let test = TestServices::with(|config| config.attestation.kubernetes = Some(kubernetes)).await;
        let (app, _) = test.create_app().await;
        let rule = TrustRuleRequest {
            kind: AttestationKind::Kubernetes,
            claims: [("sub".to_owned(), ClaimMatch::Prefix("system:serviceaccount:prod:".to_owned()))].into(),
            token_review: true,
            ..rule_request(&app.app_id, "cluster")
        };
        let audience = rule.audience.clone();
        test.services.trust_rules.add(Subject::Admin, None, rule, CLIENT).await.unwrap();
        let status = json!({ "authenticated": true, "audiences": [audience], "user": { "username": ACCOUNT } });
        server.review(Review::Status(status));
        Self { test, server, _files: files }
    }

    fn assertion(&self, jti: &str) -> Secret {
        assertion(&self.test.services, jti, &json!({ "sub": ACCOUNT }))
    }

    fn request(&self, assertion: &Secret) -> RegistrationRequest {
        let attestation = Some(Attestation { kind: AttestationKind::Kubernetes, token: assertion.clone() });
        RegistrationRequest { attestation, ..registration(&self.test.services, assertion) }
    }

    async fn register(&self, request: RegistrationRequest) -> Result<(AgentId, Issued), Error> {
        self.test.services.registrations.register(request, None, CLIENT).await
    }
}

#[tokio::test]
async fn used_assertion_is_not_sent_to_api_server() {
    let reviewing = Reviewing::new().await;
    let used = reviewing.assertion("1");
    reviewing.register(reviewing.request(&used)).await.unwrap();
    for _ in 0..5 {
        assert_eq!(reason(reviewing.register(reviewing.request(&used)).await), "assertion_used");
    }
    assert_eq!(reviewing.server.requests().len(), 1);
    reviewing.register(reviewing.request(&reviewing.assertion("2"))).await.unwrap();
    assert_eq!(reviewing.server.requests().len(), 2);
}

#[tokio::test]
async fn assertion_of_rejected_registration_is_not_sent_to_api_server() {
    let reviewing = Reviewing::new().await;
    let good = reviewing.request(&reviewing.assertion("1"));
    let wide = ScopeSet::parse(["read:everything:*"]).unwrap();
    for request in [
        RegistrationRequest { requested_scope: wide, ..good.clone() },
        RegistrationRequest { nonce: Presented::WellFormed(Hex([7; 32])), ..good.clone() },
        RegistrationRequest { signature: Presented::Malformed, ..good.clone() },
    ] {
        reviewing.register(request).await.unwrap_err();
    }
    assert_eq!(reviewing.server.requests().len(), 0);
    reviewing.register(good).await.unwrap();
}

#[tokio::test]
async fn assertion_that_api_server_rejects_registers_no_agent_and_is_not_sent_again() {
    let reviewing = Reviewing::new().await;
    let (rejected, other) = (reviewing.assertion("1"), reviewing.assertion("2"));
    reviewing.server.review(Review::Status(json!({ "authenticated": false })));
    for _ in 0..2 {
        assert_eq!(reason(reviewing.register(reviewing.request(&rejected)).await), "token_review_rejected");
    }
    assert_eq!(reviewing.server.requests().len(), 1);
    reviewing.server.review(Review::Error(500));
    let away = reviewing.register(reviewing.request(&other)).await.unwrap_err();
    assert!(matches!(&away, Error::AttestationUnavailable(failure) if failure.rule.is_some()), "{away:?}");
    let metrics = reviewing.test.services.metrics.encode();
    for (reason, count) in [("token_review_rejected", 2), ("token_review_unavailable", 1)] {
        let line = format!("agentwrit_attestations_rejected_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn assertion_whose_review_failed_registers_agent_when_api_server_is_back() {
    let reviewing = Reviewing::new().await;
    let (confirmed, assertion) = (reviewing.server.current_review(), reviewing.assertion("1"));
    reviewing.server.review(Review::Error(500));
    reviewing.register(reviewing.request(&assertion)).await.unwrap_err();
    reviewing.server.review(confirmed);
    reviewing.register(reviewing.request(&assertion)).await.unwrap();
}
