//! Rules that no operator may create, and claims that meet none.

use serde_json::json;

use super::*;

fn rule(kind: AttestationKind, issuer: &str, claims: &[(&str, ClaimMatch)]) -> TrustRule {
    let name = AppName::parse("ci").unwrap();
    let claims = claims.iter().map(|(name, condition)| (ClaimName::parse(name).unwrap(), condition.clone()));
    TrustRule {
        id: TrustRuleId::new(&name, [1, 2, 3]),
        name,
        app_id: AppId::new("web", [1, 2, 3]).unwrap(),
        kind,
        issuer: issuer.to_owned(),
        keys: RuleKeys::Url("https://id.example/jwks".to_owned()),
        audience: "agentwrit".to_owned(),
        claims: claims.collect(),
        allowed_scope: ScopeSet::parse(["read:data:x"]).unwrap(),
        max_ttl: 60,
        task_template: None,
        orch_template: None,
        token_review: false,
        created_at: UnixTime::default(),
        created_by: Subject::Admin,
    }
}

fn equals(text: &str) -> ClaimMatch {
    ClaimMatch::Equals(ClaimValue::Text(text.to_owned()))
}

fn prefix(text: &str) -> ClaimMatch {
    ClaimMatch::Prefix(text.to_owned())
}

fn faulty_member(rule: &TrustRule) -> Option<&'static str> {
    rule.check().err().map(|error| error.member)
}

#[test]
fn rejects_rule_that_restricts_no_claim_of_subject() {
    for kind in [AttestationKind::Oidc, AttestationKind::Kubernetes] {
        let of = |claims: &[(&str, ClaimMatch)]| faulty_member(&rule(kind, "https://id.example", claims));
        assert_eq!(of(&[]), Some("claims"));
        assert_eq!(of(&[("aud", equals("agentwrit")), ("/iss", equals("https://id.example"))]), Some("claims"));
        assert_eq!(of(&[("aud", equals("agentwrit")), ("sub", prefix("repo:acme/"))]), None);
    }
}

#[test]
fn rejects_spiffe_rule_that_reaches_beyond_path_of_trust_domain() {
    let of = |issuer, claims: &[(&str, ClaimMatch)]| faulty_member(&rule(AttestationKind::Spiffe, issuer, claims));
    let domain = "spiffe://example.org";
    assert_eq!(of(domain, &[("sub", equals("spiffe://example.org/ci/a"))]), None);
    assert_eq!(of(domain, &[("sub", prefix("spiffe://example.org/ci/"))]), None);
    for condition in [
        prefix("spiffe://example.org"),
        prefix("spiffe://example.org/ci"),
        prefix("spiffe://"),
        prefix("spiffe://example.org.evil/"),
        equals("spiffe://example.org"),
        equals("spiffe://example.com/ci/a"),
    ] {
        assert_eq!(of(domain, &[("sub", condition.clone())]), Some("claims"), "{condition:?}");
    }
    assert_eq!(of(domain, &[("/sub", equals("spiffe://example.org/a"))]), Some("claims"));
    for issuer in ["example.org", "spiffe://", "spiffe://Example.org", "spiffe://example.org/", "https://example.org"] {
        assert_eq!(of(issuer, &[("sub", prefix("spiffe://example.org/ci/"))]), Some("issuer"), "{issuer}");
    }
}

#[test]
fn rejects_key_addresses_that_are_not_https() {
    let of = |url: &str| {
        let rule = rule(AttestationKind::Oidc, "https://id.example", &[("sub", equals("a"))]);
        faulty_member(&TrustRule { keys: RuleKeys::Url(url.to_owned()), ..rule })
    };
    for url in ["https://id.example/jwks?x=1", "http://127.0.0.1:80/jwks", "http://[::1]/jwks"] {
        assert_eq!(of(url), None, "{url}");
    }
    for url in [
        "http://id.example/jwks",
        "http://localhost/jwks",
        "http://127.0.0.1.example/jwks",
        "http://10.0.0.1/jwks",
        "https://user@id.example/jwks",
        "https://id.example/jwks#x",
        "file:///etc/jwks",
        "/jwks",
        "https://",
        "https://id example/",
        "",
    ] {
        assert_eq!(of(url), Some("jwks_url"), "{url}");
    }
}

#[test]
fn rejects_texts_with_spaces_and_token_review_of_other_kinds() {
    let good = rule(AttestationKind::Oidc, "https://id.example", &[("sub", equals("a"))]);
    for text in ["", "a b", "é"] {
        assert_eq!(faulty_member(&TrustRule { issuer: text.to_owned(), ..good.clone() }), Some("issuer"));
        assert_eq!(faulty_member(&TrustRule { audience: text.to_owned(), ..good.clone() }), Some("audience"));
    }
    let reviewed = TrustRule { token_review: true, ..good };
    assert_eq!(faulty_member(&reviewed), Some("token_review"));
    assert_eq!(faulty_member(&TrustRule { kind: AttestationKind::Kubernetes, ..reviewed }), None);
}

#[test]
fn names_first_claim_that_does_not_meet_its_condition() {
    let conditions = [("sub", prefix("repo:acme/")), ("ref", equals("refs/heads/main"))];
    let rule = rule(AttestationKind::Oidc, "https://id.example", &conditions);
    let unmet = |claims: Value| rule.unmet_claim(claims.as_object().unwrap()).map(|name| name.as_str().to_owned());
    assert_eq!(unmet(json!({ "sub": "repo:acme/a", "ref": "refs/heads/main" })), None);
    assert_eq!(unmet(json!({ "sub": "repo:acme/a", "ref": "refs/heads/x" })).as_deref(), Some("ref"));
    assert_eq!(unmet(json!({ "sub": "repo:evil/a", "ref": "refs/heads/x" })).as_deref(), Some("sub"));
    assert_eq!(unmet(json!({})).as_deref(), Some("sub"));
}

#[test]
fn parses_ids_of_rules() {
    let name = AppName::parse("ci-main").unwrap();
    let id = TrustRuleId::new(&name, [0, 0xab, 0xff]);
    assert_eq!(id.as_str(), "rule-ci-main-00abff");
    assert_eq!(TrustRuleId::parse(id.as_str()), Ok(id));
    for text in ["", "rule-ci", "rule-ci-00abf", "rule-ci-00ABFF", "app-ci-00abff", "rule--00abff", "rule-ci-00abff "] {
        assert_eq!(TrustRuleId::parse(text), Err(TrustRuleIdError), "{text:?}");
    }
}
