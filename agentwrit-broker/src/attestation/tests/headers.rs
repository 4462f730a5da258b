//! Algorithm confusion, key ids and key material in the header.

use data_encoding::BASE64URL_NOPAD;

use super::*;

fn header(algorithm: &str, kid: &str) -> Value {
    json!({ "alg": algorithm, "typ": "JWT", "kid": kid })
}

#[tokio::test]
async fn rejects_hmac_with_published_key_and_unsigned_tokens() {
    let test = Test::new();
    for published in Algorithm::ALL.map(key) {
        for algorithm in ["HS256", "HS384", "HS512", "none", "NONE", "nOnE", ""] {
            let signed = published.token_with(&header(algorithm, published.kid()), &test.claims());
            let (message, _) = signed.rsplit_once('.').unwrap();
            // The MAC under the published key, as text and as bytes.
            let jwk = published.jwk();
            let material = jwk["n"].as_str().or(jwk["x"].as_str()).unwrap();
            for secret in [material.as_bytes().to_vec(), BASE64URL_NOPAD.decode(material.as_bytes()).unwrap()] {
                let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
                let mac = BASE64URL_NOPAD.encode(aws_lc_rs::hmac::sign(&secret, message.as_bytes()).as_ref());
                let reason = test.rejected(&format!("{message}.{mac}")).await;
                assert_eq!(reason, AttestationError::UnsupportedAlgorithm, "{algorithm}");
            }
            assert_eq!(test.rejected(&signed).await, AttestationError::UnsupportedAlgorithm, "{algorithm}");
            assert_eq!(
                test.rejected(&format!("{message}.")).await,
                AttestationError::UnsupportedAlgorithm,
                "{algorithm}"
            );
        }
    }
    assert_eq!(test.provider.fetches(), 0, "the header alone is rejected");
}

#[tokio::test]
async fn rejects_header_whose_algorithm_is_not_that_of_named_key() {
    let test = Test::new();
    for signer in Algorithm::ALL.map(key) {
        for named in Algorithm::ALL.map(key) {
            for algorithm in Algorithm::ALL {
                let token = signer.token_with(&header(algorithm.as_str(), named.kid()), &test.claims());
                let judged = test.verify(&token).await.map(drop);
                let expected = match (algorithm == named.algorithm(), signer.kid() == named.kid()) {
                    (true, true) => Ok(()),
                    (true, false) => Err(AttestationError::BadSignature),
                    (false, _) => Err(AttestationError::WrongAlgorithm),
                };
                assert_eq!(judged, expected, "{algorithm:?} by {} as {}", signer.kid(), named.kid());
            }
        }
    }
}

#[tokio::test]
async fn rejects_kid_that_is_absent_unknown_or_a_path() {
    let test = Test::new();
    let signer = key(Algorithm::Es256);
    let with_kid = async |kid: Value| {
        test.rejected(&signer.token_with(&json!({ "alg": "ES256", "kid": kid }), &test.claims())).await
    };
    for kid in
        ["unknown", "", "../../etc/passwd", "/dev/null", "' OR 1=1 --", "ES256\0", "es256", "http://127.0.0.1/key"]
    {
        assert_eq!(with_kid(json!(kid)).await, AttestationError::UnknownKey, "{kid:?}");
    }
    assert_eq!(with_kid(json!("k".repeat(4096))).await, AttestationError::UnknownKey);
    for kid in [json!(null), json!(7), json!(["ES256"])] {
        assert_eq!(with_kid(kid.clone()).await, AttestationError::MalformedToken, "{kid}");
    }
    let absent = signer.token_with(&json!({ "alg": "ES256" }), &test.claims());
    assert_eq!(test.rejected(&absent).await, AttestationError::KeyIdMissing);
    assert_eq!(test.provider.fetches(), 1, "unknown ids fetched nothing within 30 s");
    let only = TrustRule { keys: own_set(&[signer.jwk()]), ..test.rule() };
    assert!(test.verify_by(&[only], AttestationKind::Oidc, &absent).await.is_ok(), "the only key of its set");
}

#[tokio::test]
async fn keys_and_addresses_in_header_are_never_used() {
    let (test, attacker) = (Test::new(), SigningKey::generate(Algorithm::Es256, "attacker"));
    let trap = IdentityProvider::start([&attacker]);
    for (name, value) in [
        ("jwk", attacker.jwk()),
        ("jku", json!(trap.keys_url())),
        ("x5u", json!(trap.keys_url())),
        ("x5c", json!(["MIIB"])),
        ("x5t#S256", json!("AAAA")),
        ("jku", json!(test.provider.keys_url())),
    ] {
        let mut own_kid = header("ES256", "ES256");
        own_kid[name] = value.clone();
        let reason = test.rejected(&attacker.token_with(&own_kid, &test.claims())).await;
        assert_eq!(reason, AttestationError::BadSignature, "{name}");
        let mut attackers_kid = header("ES256", "attacker");
        attackers_kid[name] = value.clone();
        let reason = test.rejected(&attacker.token_with(&attackers_kid, &test.claims())).await;
        assert_eq!(reason, AttestationError::UnknownKey, "{name}");
        // They do not spoil a token of the right key.
        assert!(test.verify(&key(Algorithm::Es256).token_with(&own_kid, &test.claims())).await.is_ok(), "{name}");
    }
    assert_eq!(trap.fetches(), 0);
}

#[tokio::test]
async fn rejects_extensions_of_header_and_other_types() {
    let test = Test::new();
    let signer = key(Algorithm::Es256);
    for (name, value, expected) in [
        ("crit", json!(["exp"]), AttestationError::CriticalHeader),
        ("b64", json!(false), AttestationError::CriticalHeader),
        ("typ", json!("logout+jwt"), AttestationError::UnsupportedType),
        ("typ", json!("dpop+jwt"), AttestationError::UnsupportedType),
    ] {
        let mut header = header("ES256", "ES256");
        header[name] = value;
        assert_eq!(test.rejected(&signer.token_with(&header, &test.claims())).await, expected, "{name}");
    }
}

#[tokio::test]
async fn rejects_duplicate_members_although_signed() {
    let test = Test::new();
    let signer = key(Algorithm::Es256);
    let claims = test.claims().to_string();
    let twice = |name: &str, value: &str| claims.replacen('{', &format!("{{\"{name}\":{value},"), 1);
    for (name, value) in
        [("iss", "\"https://issuer.example\""), ("sub", "\"a\""), ("aud", "\"b\""), ("exp", "1"), ("ref", "1")]
    {
        let token = signer.sign(&header("ES256", "ES256").to_string(), &twice(name, value));
        assert_eq!(test.rejected(&token).await, AttestationError::MalformedToken, "{name}");
    }
    let escaped = twice("\\u0069ss", "\"https://issuer.example\"");
    let token = signer.sign(&header("ES256", "ES256").to_string(), &escaped);
    assert_eq!(test.rejected(&token).await, AttestationError::MalformedToken);
    let double_kid = r#"{"alg":"ES256","kid":"other","kid":"ES256"}"#;
    assert_eq!(test.rejected(&signer.sign(double_kid, &claims)).await, AttestationError::MalformedToken);
}
