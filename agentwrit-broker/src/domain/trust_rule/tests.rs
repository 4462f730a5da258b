//! Rules that no operator may create, and claims that meet none.

use agentwrit_protocol::ClaimValue;
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
fn rejects_oidc_rule_that_trusts_tokens_of_every_holder() {
    let of = |claims: &[(&str, ClaimMatch)]| {
        faulty_member(&rule(AttestationKind::Oidc, "https://id.example", claims)).is_none()
    };
    assert!(!of(&[]));
    assert!(!of(&[("aud", equals("agentwrit")), ("/iss", equals("https://id.example"))]));
    for text in ["r", "repo:", "repo", "repo:acme", "repo:acme-", "repo:acme/a", "repo://", "/", "https://", "auth0|"] {
        assert!(!of(&[("sub", prefix(text))]), "{text}");
    }
    for text in
        ["repo:acme/", "repo:acme/app:", "project_path:acme/", "organization:acme:project:", "https://id.example/"]
    {
        assert!(of(&[("sub", prefix(text)), ("ref", prefix("refs/tags/v"))]), "{text}");
    }
    assert!(of(&[("repository", prefix("acme/"))]) && !of(&[("repository", prefix("acme"))]));
    assert!(!of(&[("email", prefix("ops@"))]) && of(&[("email", equals("ops@acme.example"))]));
    for name in [
        "ref",
        "/ref",
        "event_name",
        "environment",
        "runner_environment",
        "azp",
        "ver",
        "pipeline_source",
        "sha",
        "actor",
        "actor_id",
        "triggering_actor",
        "idtyp",
        "scp",
    ] {
        assert!(!of(&[(name, equals("main"))]), "{name}");
    }
    for name in ["email_verified", "sub", "https://id.example/staff"] {
        assert!(!of(&[(name, ClaimMatch::Equals(ClaimValue::Flag(true)))]), "{name}");
    }
    assert!(!of(&[("sub", equals(""))]));
    // Subjects that GitHub makes of claims as a repository configures: of what any repository can choose.
    for text in ["ref:refs/heads/main", "environment:prod", "actor:alice"] {
        assert!(!of(&[("sub", equals(text))]) && !of(&[("sub", prefix(&format!("{text}:")))]), "{text}");
    }
    assert!(of(&[("sub", equals("repository_owner_id:74"))]));
    // Service accounts have namespaces and pods, which rules of this kind do not know.
    for (name, condition) in [
        ("sub", prefix("system:serviceaccount:")),
        ("sub", equals("system:serviceaccount:prod:agent")),
        ("/kubernetes.io/pod/name", equals("agent-0")),
    ] {
        let rule = rule(AttestationKind::Oidc, "https://id.example", &[("team", equals("red")), (name, condition)]);
        assert_eq!(faulty_member(&rule), Some("kind"), "{name}");
    }
    assert!(of(&[("repository_id", ClaimMatch::Equals(ClaimValue::Number(74)))]));
    assert!(of(&[("https://id.example/team", equals("red")), ("ref", equals("main"))]));
}

#[test]
fn rejects_kubernetes_rule_that_trusts_other_namespaces() {
    let of = |name, condition| {
        faulty_member(&rule(AttestationKind::Kubernetes, "https://cluster.example", &[(name, condition)])).is_none()
    };
    for (name, condition) in [
        ("sub", equals("system:serviceaccount:prod:agent")),
        ("sub", prefix("system:serviceaccount:prod:")),
        ("sub", prefix("system:serviceaccount:prod:agent-")),
        ("/kubernetes.io/namespace", equals("prod")),
        ("/kubernetes.io/namespace", prefix("team-a-")),
        ("/kubernetes.io/serviceaccount/uid", equals("0b54a1a7-88a1-4b06-8f1a-0f6d1b2c3d4e")),
    ] {
        assert!(of(name, condition.clone()), "{name} {condition:?}");
    }
    for (name, condition) in [
        ("sub", prefix("system:")),
        ("sub", prefix("system:serviceaccount:")),
        ("sub", prefix("system:serviceaccount::")),
        ("sub", prefix("system:serviceaccount:prod")),
        ("/kubernetes.io/namespace", prefix("prod")),
        ("/kubernetes.io/serviceaccount/name", equals("agent")),
        ("/kubernetes.io/pod/name", prefix("agent-")),
        ("aud", equals("agentwrit")),
        ("namespace", equals("prod")),
    ] {
        assert!(!of(name, condition.clone()), "{name} {condition:?}");
    }
}

#[test]
fn rejects_templates_that_make_no_id() {
    let rule = rule(AttestationKind::Oidc, "https://id.example", &[("sub", equals("a"))]);
    let long = format!("{}{{sub}}", "a".repeat(128));
    for (text, makes_id) in [(".", false), ("..", false), (&*long, false), ("fixed", true), (".{sub}", true)] {
        let template = Some(IdTemplate::parse(text).unwrap());
        let task = faulty_member(&TrustRule { task_template: template.clone(), ..rule.clone() });
        let orch = faulty_member(&TrustRule { orch_template: template, ..rule.clone() });
        let expected = if makes_id { (None, None) } else { (Some("task_template"), Some("orch_template")) };
        assert_eq!((task, orch), expected, "{text}");
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
    assert_eq!(of(domain, &[("/sub", equals("spiffe://example.org/a"))]), None);
    assert_eq!(of(domain, &[("/x/sub", equals("spiffe://example.org/a"))]), Some("claims"));
    for issuer in ["example.org", "spiffe://", "spiffe://Example.org", "spiffe://example.org/", "https://example.org"] {
        assert_eq!(of(issuer, &[("sub", prefix("spiffe://example.org/ci/"))]), Some("issuer"), "{issuer}");
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
