//! Rules that can permit nothing.

use super::*;

fn faulty_member(rule: &TrustRule) -> Option<&'static str> {
    let (clock, metrics) = (ManualClock::new(UnixTime::from_seconds(NOW)), Arc::new(Metrics::new()));
    let attestor = Attestor::new(&AttestationSettings::default(), Arc::new(clock), metrics);
    attestor.check_rule(rule).err().map(|error| error.member)
}

fn oidc(issuer: &str, keys: RuleKeys) -> TrustRule {
    rule(AttestationKind::Oidc, issuer, keys, &[("sub", equals("a"))])
}

#[test]
fn rejects_addresses_that_no_key_set_is_fetched_from() {
    let of = |url: &str| faulty_member(&oidc("https://id.example", RuleKeys::Url(url.to_owned())));
    for url in
        ["https://id.example/jwks?x=1", "https://id.example:8443/k", "http://127.0.0.1:80/jwks", "http://[::1]/jwks"]
    {
        assert_eq!(of(url), None, "{url}");
    }
    for url in [
        "http://id.example/jwks",
        "http://localhost/jwks",
        "http://127.0.0.1.example/jwks",
        "http://10.0.0.1/jwks",
        "https://user@id.example/jwks",
        "https://id.example/jwks#x",
        "https://id.example:99999/jwks",
        "https://1.2.3.4.5/jwks",
        "https://256.1.1.1/jwks",
        "https://xn--/jwks",
        "file:///etc/jwks",
        "/jwks",
        "https://",
        "https://id example/",
    ] {
        assert_eq!(of(url), Some("jwks_url"), "{url}");
    }
}

#[test]
fn rejects_issuer_that_is_no_https_url_for_oidc() {
    let keys = || RuleKeys::Url("https://id.example/jwks".to_owned());
    for issuer in ["https://id.example", "https://id.example/tenant/", "http://127.0.0.1:4000"] {
        assert_eq!(faulty_member(&oidc(issuer, keys())), None, "{issuer}");
    }
    for issuer in [
        "token.actions.githubusercontent.com",
        "http://id.example",
        "https://id.example/#a",
        "https://id.example/?a",
        "https://a@id.example",
        "HTTPS://id.example",
        "spiffe://example.org",
    ] {
        assert_eq!(faulty_member(&oidc(issuer, keys())), Some("issuer"), "{issuer}");
    }
    let cluster = TrustRule { kind: AttestationKind::Kubernetes, ..oidc("kubernetes/serviceaccount", keys()) };
    assert_eq!(faulty_member(&cluster), None, "an API server's issuer is any text");
}

#[test]
fn rejects_key_set_without_key_for_kind() {
    let with_use = |usage: &str| {
        let mut jwk = key(Algorithm::Es256).jwk();
        jwk["use"] = json!(usage);
        jwk
    };
    let p384 = json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "1" });
    for (kind, jwk, fault) in [
        (AttestationKind::Oidc, key(Algorithm::Es256).jwk(), None),
        (AttestationKind::Kubernetes, key(Algorithm::Rs256).jwk(), None),
        (AttestationKind::Spiffe, with_use("jwt-svid"), None),
        (AttestationKind::Oidc, p384.clone(), Some("jwks")),
        (AttestationKind::Oidc, json!({ "kty": "RSA", "n": "AQAB", "e": "AQ" }), Some("jwks")),
        (AttestationKind::Oidc, json!({}), Some("jwks")),
        (AttestationKind::Oidc, with_use("jwt-svid"), Some("jwks")),
        (AttestationKind::Kubernetes, with_use("enc"), Some("jwks")),
        (AttestationKind::Spiffe, key(Algorithm::Es256).jwk(), Some("jwks")),
    ] {
        let rule = TrustRule { kind, ..oidc("https://id.example", own_set(std::slice::from_ref(&jwk))) };
        assert_eq!(faulty_member(&rule), fault, "{kind:?} {jwk}");
    }
    let mixed = own_set(&[p384, key(Algorithm::EdDsa).jwk()]);
    assert_eq!(faulty_member(&oidc("https://id.example", mixed)), None, "unusable keys are left out");
}

#[test]
fn rejects_token_review_without_api_server() {
    let keys = RuleKeys::Url("https://id.example/jwks".to_owned());
    let rule = TrustRule { kind: AttestationKind::Kubernetes, token_review: true, ..oidc("https://id.example", keys) };
    assert_eq!(faulty_member(&rule), Some("token_review"));
}
