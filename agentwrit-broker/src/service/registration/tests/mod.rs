//! Registrations with assertions of another issuer, whose key set the trust rules hold.

mod histories;
mod known_rules;
mod limits;
mod order;
mod races;
mod rejections;
mod rule_events;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use agentwrit_protocol::{
    AppStatus, AppUpdateRequest, Attestation, AttestationKind, Base64, ClaimMatch, Hex, JwkSetText, Presented,
    RegistrationRequest, Secret, TrustRuleRequest,
};
use agentwrit_verify::{AgentId, AppId, Clock as _, PathSegment, ScopeSet, Subject};
use ed25519_dalek::{Signer as _, SigningKey};
use identity_provider::{Algorithm, SigningKey as IssuerKey};
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::TrustRule,
    issuer::Issued,
    service::{
        Services,
        tests::{CLIENT, SCOPE, TestServices},
    },
};

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "https://broker.example";

/// Key of the issuer.
fn issuer_key() -> &'static IssuerKey {
    static KEY: OnceLock<IssuerKey> = OnceLock::new();
    KEY.get_or_init(|| IssuerKey::generate(Algorithm::Es256, "1"))
}

/// A rule for jobs of `acme`, which may have [`SCOPE`].
pub(in crate::service) fn rule_request(app_id: &AppId, name: &str) -> TrustRuleRequest {
    let set = json!({ "keys": [issuer_key().jwk()] });
    TrustRuleRequest {
        name: name.to_owned(),
        app_id: app_id.clone(),
        kind: AttestationKind::Oidc,
        issuer: ISSUER.to_owned(),
        jwks_url: None,
        jwks: Some(JwkSetText::parse(set.to_string().as_bytes()).unwrap()),
        audience: AUDIENCE.to_owned(),
        claims: BTreeMap::from([("sub".to_owned(), ClaimMatch::Prefix("repo:acme/".to_owned()))]),
        allowed_scope: ScopeSet::parse([SCOPE]).unwrap(),
        max_ttl: 60,
        task_template: None,
        orch_template: None,
        token_review: false,
    }
}

/// An assertion about a job of `acme`, with other claims in place of some; `null` removes one.
pub(in crate::service) fn assertion(services: &Services, jti: &str, changes: &Value) -> Secret {
    let now = services.ledger.now().seconds();
    let mut claims = json!({
        "iss": ISSUER, "sub": "repo:acme/app", "aud": AUDIENCE, "jti": jti, "iat": now, "exp": now + 300, "run_id": 7,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    Secret::new(issuer_key().token(&claims))
}

/// A registration of a new key with an assertion, for [`SCOPE`].
pub(in crate::service) fn registration(services: &Services, assertion: &Secret) -> RegistrationRequest {
    let nonce = services.challenges.issue();
    let key = SigningKey::from_bytes(&services.issuer.random());
    RegistrationRequest {
        launch_token: None,
        attestation: Some(Attestation { kind: AttestationKind::Oidc, token: assertion.clone() }),
        nonce: Presented::WellFormed(Hex(nonce)),
        public_key: Presented::WellFormed(Base64(key.verifying_key().to_bytes())),
        signature: Presented::WellFormed(Base64(key.sign(&nonce).to_bytes())),
        orch_id: Some(PathSegment::parse("orch").unwrap()),
        task_id: Some(PathSegment::parse("task").unwrap()),
        requested_scope: ScopeSet::parse([SCOPE]).unwrap(),
        sender_constrained: false,
    }
}

pub(in crate::service) async fn register(services: &Services, assertion: &Secret) -> Result<(AgentId, Issued), Error> {
    services.registrations.register(registration(services, assertion), None, CLIENT).await
}

/// Returns the reason of a rejected assertion.
pub(in crate::service) fn reason<T: std::fmt::Debug>(outcome: Result<T, Error>) -> &'static str {
    match outcome {
        Err(Error::AttestationFailed(failure)) => failure.reason,
        other => panic!("{other:?}"),
    }
}

/// Services with an app, and a rule for it.
struct Attesting {
    test: TestServices,
    app_id: AppId,
    rule: TrustRule,
}

impl Attesting {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut TrustRuleRequest)) -> Self {
        let test = TestServices::new().await;
        let (app, _) = test.create_app().await;
        let mut request = rule_request(&app.app_id, "ci");
        change(&mut request);
        let rule = test.services.trust_rules.add(Subject::Admin, None, request, CLIENT).await.unwrap();
        Self { test, app_id: app.app_id, rule }
    }

    fn services(&self) -> &Services {
        &self.test.services
    }

    fn assertion(&self, jti: &str) -> Secret {
        assertion(self.services(), jti, &json!({}))
    }

    async fn register(&self, assertion: &Secret) -> Result<(AgentId, Issued), Error> {
        register(self.services(), assertion).await
    }

    async fn remove_rule(&self) {
        let removed = self.services().trust_rules.remove(Subject::Admin, None, self.rule.id.clone(), CLIENT);
        removed.await.unwrap();
    }

    async fn set_status(&self, status: AppStatus) {
        self.services().apps.set_status(None, self.app_id.clone(), status, CLIENT).await.unwrap();
    }

    async fn narrow_app(&self) {
        let scopes = Some(ScopeSet::parse(["read:other:x"]).unwrap());
        let change = AppUpdateRequest { scopes, ..AppUpdateRequest::default() };
        self.services().apps.update(None, self.app_id.clone(), change, CLIENT).await.unwrap();
    }
}

#[tokio::test]
async fn registers_agent_and_names_rule_and_subject_in_trail() {
    let attesting = Attesting::new().await;
    let (id, issued) = attesting.register(&attesting.assertion("1")).await.unwrap();
    let claims = attesting.services().verifier.verify(&issued.access_token).unwrap();
    assert_eq!(claims.expires_at().seconds() - claims.issued_at().seconds(), 60);
    assert_eq!(claims.scopes().to_string(), SCOPE);
    let stored = id.clone();
    let read = attesting.services().ledger.read(move |reader| Ok::<_, Error>(reader.agent(&stored)?));
    let agent = read.await.unwrap().unwrap();
    let identity = agent.registered_with.attestation().unwrap();
    assert_eq!((&identity.rule, &*identity.issuer, &*identity.subject), (&attesting.rule.id, ISSUER, "repo:acme/app"));
    assert_eq!(agent.app_id, Some(attesting.app_id.clone()));
    let trail = attesting.test.trail().await;
    let event = trail.iter().find(|event| event.event_type == EventType::AgentRegistered).unwrap();
    let words = format!("trust_rule_id={} issuer={ISSUER} subject=repo:acme/app", attesting.rule.id);
    assert!(event.detail.contains(&words), "{}", event.detail);
    attesting.register(&attesting.assertion("1")).await.unwrap_err();
    let metrics = attesting.services().metrics.encode();
    for line in [
        r#"agentwrit_attestations_total{kind="oidc"} 1"#,
        r#"agentwrit_attestations_rejected_total{reason="assertion_used"} 1"#,
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn templates_make_task_and_orchestrator_of_claims() {
    let attesting = Attesting::with(|rule| {
        rule.task_template = Some("ci-{run_id}".to_owned());
        rule.orch_template = Some("{sub}".to_owned());
    })
    .await;
    let of = |jti, orch: Option<&str>, task: Option<&str>| {
        let segment = |text: &str| PathSegment::parse(text).unwrap();
        let request = registration(attesting.services(), &attesting.assertion(jti));
        RegistrationRequest { orch_id: orch.map(segment), task_id: task.map(segment), ..request }
    };
    let register = |request| attesting.services().registrations.register(request, None, CLIENT);
    let (id, _) = register(of("1", None, None)).await.unwrap();
    assert_eq!((id.orch_id(), id.task_id()), ("repo-acme-app", "ci-7"));
    register(of("2", Some("repo-acme-app"), Some("ci-7"))).await.unwrap();
    let pinned = |field| Error::Pinned { credential: "attestation", field };
    assert_eq!(register(of("3", None, Some("ci-8"))).await.unwrap_err(), pinned("task_id"));
    assert_eq!(register(of("3", Some("other"), None)).await.unwrap_err(), pinned("orch_id"));
    register(of("3", None, None)).await.unwrap();

    for (changes, expected) in [
        (json!({ "run_id": null }), "template_claim_unusable"),
        (json!({ "sub": format!("repo:acme/{}", "a".repeat(128)) }), "template_id_unusable"),
    ] {
        let unusable = assertion(attesting.services(), "4", &changes);
        let request = registration(attesting.services(), &unusable);
        let request = RegistrationRequest { orch_id: None, task_id: None, ..request };
        assert_eq!(reason(register(request).await), expected);
    }
}

#[tokio::test]
async fn requires_task_and_orchestrator_where_rule_has_no_template() {
    let attesting = Attesting::new().await;
    let assertion = attesting.assertion("1");
    for field in ["orch_id", "task_id"] {
        let mut request = registration(attesting.services(), &assertion);
        if field == "orch_id" {
            request.orch_id = None;
        } else {
            request.task_id = None;
        }
        let rejected = attesting.services().registrations.register(request, None, CLIENT).await.unwrap_err();
        assert_eq!(rejected, Error::invalid(field, "is required"));
    }
    attesting.register(&assertion).await.unwrap();
}
