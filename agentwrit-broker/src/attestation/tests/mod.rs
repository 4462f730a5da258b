//! Attestations by a hostile identity provider: each test names the reason of the rejection.

mod claims;
mod headers;
mod key_sets;
mod kubernetes;
mod mutations;
mod rule_check;

use std::{sync::OnceLock, time::Duration};

use agentwrit_protocol::{ClaimMatch, ClaimValue, JwkSetText, Secret};
use agentwrit_verify::{AppId, ScopeSet, Subject, testing::ManualClock};
use identity_provider::{Algorithm, IdentityProvider, SigningKey};
use serde_json::json;

use super::*;
use crate::domain::{AppName, ClaimName, RuleKeys, TrustRuleId};

const NOW: u64 = 1_795_248_000;
const AUDIENCE: &str = "https://broker.example";
const SUBJECT: &str = "repo:acme/app:ref:refs/heads/main";

/// Keys of one algorithm each, made once: RSA keys take long.
fn key(algorithm: Algorithm) -> &'static SigningKey {
    static KEYS: OnceLock<[SigningKey; 3]> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm, algorithm.as_str())));
    keys.iter().find(|key| key.algorithm() == algorithm).unwrap()
}

/// An attestor and a provider with all three keys.
struct Test {
    provider: IdentityProvider,
    attestor: Attestor,
    clock: ManualClock,
    metrics: Arc<Metrics>,
}

impl Test {
    fn new() -> Self {
        Self::with(&AttestationSettings::default())
    }

    fn with(settings: &AttestationSettings) -> Self {
        let provider = IdentityProvider::start(Algorithm::ALL.map(key));
        let (clock, metrics) = (ManualClock::new(UnixTime::from_seconds(NOW)), Arc::new(Metrics::new()));
        let attestor = Attestor::new(settings, Arc::new(clock.clone()), Arc::clone(&metrics));
        Self { provider, attestor, clock, metrics }
    }

    /// The provider's claims about a job.
    fn claims(&self) -> Value {
        json!({
            "iss": self.provider.issuer(), "sub": SUBJECT, "aud": AUDIENCE, "jti": "assertion-1", "ref": "refs/heads/main",
            "iat": NOW, "nbf": NOW, "exp": NOW + 300,
        })
    }

    /// The provider's claims with some changed; `null` removes one.
    fn claims_with(&self, changes: &Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    fn token(&self) -> String {
        key(Algorithm::Es256).token(&self.claims())
    }

    /// A rule for jobs of `acme/app`.
    fn rule(&self) -> TrustRule {
        let prefix = ClaimMatch::Prefix("repo:acme/app:".to_owned());
        rule(
            AttestationKind::Oidc,
            &self.provider.issuer(),
            RuleKeys::Url(self.provider.keys_url()),
            &[("sub", prefix)],
        )
    }

    async fn verify(&self, token: &str) -> Result<Attested, AttestationError> {
        self.verify_by(&[self.rule()], AttestationKind::Oidc, token).await
    }

    async fn verify_by(
        &self,
        rules: &[TrustRule],
        kind: AttestationKind,
        token: &str,
    ) -> Result<Attested, AttestationError> {
        self.attestor.verify(rules, &attestation(kind, token)).await
    }

    async fn rejected(&self, token: &str) -> AttestationError {
        self.verify(token).await.expect_err("the token is not to be accepted")
    }
}

fn attestation(kind: AttestationKind, token: &str) -> Attestation {
    Attestation { kind, token: Secret::from(token) }
}

fn rule(kind: AttestationKind, issuer: &str, keys: RuleKeys, claims: &[(&str, ClaimMatch)]) -> TrustRule {
    rule_named("ci", kind, issuer, keys, claims)
}

pub(super) fn rule_named(
    name: &str,
    kind: AttestationKind,
    issuer: &str,
    keys: RuleKeys,
    claims: &[(&str, ClaimMatch)],
) -> TrustRule {
    let name = AppName::parse(name).unwrap();
    TrustRule {
        id: TrustRuleId::new(&name, [0; 3]),
        app_id: AppId::new("ci", [0; 3]).unwrap(),
        name,
        kind,
        issuer: issuer.to_owned(),
        keys,
        audience: AUDIENCE.to_owned(),
        claims: claims.iter().map(|(name, condition)| (ClaimName::parse(name).unwrap(), condition.clone())).collect(),
        allowed_scope: ScopeSet::parse(["read:data:*"]).unwrap(),
        max_ttl: 300,
        task_template: None,
        orch_template: None,
        token_review: false,
        created_at: UnixTime::from_seconds(NOW),
        created_by: Subject::Admin,
    }
}

/// A rule's own key set with these keys.
pub(super) fn own_set(keys: &[Value]) -> RuleKeys {
    RuleKeys::Set(JwkSetText::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap())
}

fn equals(text: &str) -> ClaimMatch {
    ClaimMatch::Equals(ClaimValue::Text(text.to_owned()))
}

#[tokio::test]
async fn accepts_token_of_each_algorithm() {
    let test = Test::new();
    for algorithm in Algorithm::ALL {
        let attested = test.verify(&key(algorithm).token(&test.claims())).await.unwrap();
        assert_eq!((attested.subject.as_str(), attested.expires_at.seconds()), (SUBJECT, NOW + 300));
        assert_eq!((attested.rule, attested.pod), (test.rule(), None));
        assert_eq!(attested.claims["ref"], "refs/heads/main");
    }
    assert_eq!(test.provider.fetches(), 1, "the set is kept");
    let metrics = test.metrics.encode();
    assert!(metrics.contains(r#"agentwrit_attestations_rejected_total{reason="bad_signature"} 0"#), "{metrics}");
}

#[tokio::test]
async fn accepts_token_by_keys_of_rule_without_any_request() {
    let test = Test::new();
    let keys = own_set(&Algorithm::ALL.map(|algorithm| key(algorithm).jwk()));
    let rules = [TrustRule { keys, ..test.rule() }];
    for algorithm in Algorithm::ALL {
        let token = key(algorithm).token(&test.claims());
        assert!(test.verify_by(&rules, AttestationKind::Oidc, &token).await.is_ok());
    }
    assert_eq!(test.provider.fetches(), 0);
}

#[tokio::test]
async fn assertion_is_equal_for_every_use_and_encoding_of_it() {
    let test = Test::new();
    let assertion = async |token: &str| test.verify(token).await.unwrap().assertion;
    let first = assertion(&test.token()).await;
    let same_id = key(Algorithm::EdDsa).token(&test.claims_with(&json!({ "exp": NOW + 200 })));
    assert_eq!(assertion(&same_id).await, first, "one issuer and `jti`");
    let other_id = key(Algorithm::Es256).token(&test.claims_with(&json!({ "jti": "assertion-2" })));
    assert_ne!(assertion(&other_id).await, first);

    // Without `jti`: the second valid signature of the same claims, (r, n - s), is the same assertion.
    let token = key(Algorithm::Es256).token(&test.claims_with(&json!({ "jti": null })));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let mirrored = format!("{signed}.{}", mirrored(&token));
    assert_ne!(token, mirrored);
    assert_eq!(assertion(&mirrored).await, assertion(&token).await);
}

/// The other signature of a P-256 token.
fn mirrored(token: &str) -> String {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let signature = token.rsplit_once('.').unwrap().1;
    let mut signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let mut borrow = 0;
    for place in (0..32).rev() {
        let difference = i16::from(ORDER[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    data_encoding::BASE64URL_NOPAD.encode(&signature)
}

#[tokio::test]
async fn takes_first_rule_that_permits_and_reports_latest_check() {
    let test = Test::new();
    let (issuer, keys) = (test.provider.issuer(), RuleKeys::Url(test.provider.keys_url()));
    let of = |condition| rule(AttestationKind::Oidc, &issuer, keys.clone(), &[("sub", condition)]);
    let other_keys = TrustRule { keys: own_set(&[SigningKey::generate(Algorithm::Es256, "x").jwk()]), ..test.rule() };
    let rules =
        [other_keys.clone(), of(equals("repo:acme/other")), TrustRule { max_ttl: 7, ..test.rule() }, test.rule()];
    let token = test.token();
    assert_eq!(test.verify_by(&rules, AttestationKind::Oidc, &token).await.unwrap().rule, rules[2]);
    let reason = test.verify_by(&rules[..2], AttestationKind::Oidc, &token).await.unwrap_err();
    assert_eq!(reason, AttestationError::ClaimsMismatch);
    let reason = test.verify_by(&[other_keys], AttestationKind::Oidc, &token).await.unwrap_err();
    assert_eq!(reason, AttestationError::UnknownKey);
    assert_eq!(test.provider.fetches(), 1);
}

#[tokio::test]
async fn rules_of_other_kinds_and_issuers_permit_nothing() {
    let test = Test::new();
    let other_kind = TrustRule { kind: AttestationKind::Kubernetes, ..test.rule() };
    let other_issuer = TrustRule { issuer: "https://other.example".to_owned(), ..test.rule() };
    let reason = test.verify_by(&[other_kind, other_issuer], AttestationKind::Oidc, &test.token()).await.unwrap_err();
    assert_eq!(reason, AttestationError::UnknownIssuer);
    assert_eq!(test.provider.fetches(), 0);
    assert_eq!(test.attestor.issuer(&attestation(AttestationKind::Oidc, &test.token())), Ok(test.provider.issuer()));
}

#[tokio::test]
async fn spiffe_token_needs_subject_audience_and_key_of_trust_domain() {
    let test = Test::new();
    let signer = key(Algorithm::Es256);
    let mut svid_key = signer.jwk();
    svid_key["use"] = json!("jwt-svid");
    let prefix = ClaimMatch::Prefix("spiffe://example.org/ci/".to_owned());
    let spiffe = rule(AttestationKind::Spiffe, "spiffe://example.org", own_set(&[svid_key]), &[("sub", prefix)]);
    let id = "spiffe://example.org/ci/builder";
    let claims = |sub: &str| json!({ "sub": sub, "aud": [AUDIENCE, "other"], "exp": NOW + 300 });
    let verify = async |claims: Value, rule: &TrustRule| {
        test.verify_by(std::slice::from_ref(rule), AttestationKind::Spiffe, &signer.token(&claims)).await
    };
    assert_eq!(verify(claims(id), &spiffe).await.unwrap().subject, id);
    for (sub, expected) in [
        ("spiffe://example.org/ci-evil/x", AttestationError::ClaimsMismatch),
        ("spiffe://example.org/ci", AttestationError::ClaimsMismatch),
        ("spiffe://example.com/ci/builder", AttestationError::UnknownIssuer),
        ("spiffe://example.org.evil/ci/builder", AttestationError::UnknownIssuer),
        ("spiffe://Example.org/ci/builder", AttestationError::InvalidSubject),
        ("spiffe://example.org/ci/../admin", AttestationError::InvalidSubject),
        ("spiffe://example.org/ci//builder", AttestationError::InvalidSubject),
        ("https://example.org/ci/builder", AttestationError::InvalidSubject),
    ] {
        assert_eq!(verify(claims(sub), &spiffe).await.unwrap_err(), expected, "{sub}");
    }
    let without_audience = json!({ "sub": id, "exp": NOW + 300 });
    assert_eq!(verify(without_audience, &spiffe).await.unwrap_err(), AttestationError::AudienceMismatch);
    // With `iss` it may be presented as a token of that issuer too, and is one assertion.
    let oidc = rule(AttestationKind::Oidc, "https://id.example", own_set(&[signer.jwk()]), &[("sub", equals(id))]);
    for jti in [json!("1"), json!(null)] {
        let claims = json!({ "iss": "https://id.example", "sub": id, "jti": jti, "aud": AUDIENCE, "exp": NOW + 300 });
        let mut claims = claims.as_object().unwrap().clone();
        claims.retain(|_, claim| !claim.is_null());
        let token = signer.token(&Value::Object(claims));
        let as_svid = test.verify_by(std::slice::from_ref(&spiffe), AttestationKind::Spiffe, &token).await.unwrap();
        let as_oidc = test.verify_by(std::slice::from_ref(&oidc), AttestationKind::Oidc, &token).await.unwrap();
        assert_eq!(as_svid.assertion, as_oidc.assertion);
    }
    // A key without `use`, as an OpenID provider publishes it, signs no JWT-SVIDs.
    let unmarked = TrustRule { keys: own_set(&[signer.jwk()]), ..spiffe };
    assert_eq!(verify(claims(id), &unmarked).await.unwrap_err(), AttestationError::UnknownKey);
}
