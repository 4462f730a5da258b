use data_encoding::BASE64URL_NOPAD;
use identity_provider::{Algorithm as SigningAlgorithm, SigningKey};
use serde_json::{Value, json};

use super::*;

fn parse(keys: &[Value]) -> JwkSet {
    JwkSet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn choice(set: &JwkSet, kid: Option<&str>, algorithm: Algorithm) -> Result<Algorithm, AttestationError> {
    set.choose(kid, algorithm, Purpose::Signature).map(|key| key.algorithm)
}

fn key(algorithm: SigningAlgorithm, kid: &str) -> SigningKey {
    SigningKey::generate(algorithm, kid)
}

/// The key with some members changed; `null` removes one.
fn changed(key: &SigningKey, changes: &Value) -> Value {
    let mut jwk = key.jwk();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    jwk
}

fn is_usable(key: &SigningKey, changes: &Value) -> bool {
    let set = parse(&[changed(key, changes)]);
    assert_eq!(set.len() + set.unusable(), 1);
    set.len() == 1
}

#[test]
fn verifies_signatures_of_each_algorithm_and_no_others() {
    for algorithm in SigningAlgorithm::ALL {
        let (own, other) = (key(algorithm, "k"), key(algorithm, "k"));
        let set = parse(&[own.jwk()]);
        let expected = Algorithm::parse(algorithm.as_str()).unwrap();
        let chosen = set.choose(Some("k"), expected, Purpose::Signature).unwrap();
        assert_eq!(chosen.verify(b"message", &own.signature(b"message")), Ok(()));
        assert_eq!(chosen.verify(b"massage", &own.signature(b"message")), Err(AttestationError::BadSignature));
        assert_eq!(chosen.verify(b"message", &other.signature(b"message")), Err(AttestationError::BadSignature));
        assert_eq!(chosen.verify(b"message", b""), Err(AttestationError::BadSignature));
    }
}

#[test]
fn key_decides_algorithm() {
    let keys: Vec<SigningKey> = SigningAlgorithm::ALL.map(|algorithm| key(algorithm, algorithm.as_str())).into();
    let set = parse(&keys.iter().map(SigningKey::jwk).collect::<Vec<_>>());
    for (kid, own) in [("RS256", Algorithm::Rs256), ("ES256", Algorithm::Es256), ("EdDSA", Algorithm::EdDsa)] {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let expected = if algorithm == own { Ok(own) } else { Err(AttestationError::WrongAlgorithm) };
            assert_eq!(choice(&set, Some(kid), algorithm), expected, "{kid} {algorithm:?}");
        }
    }
}

#[test]
fn token_without_kid_needs_set_with_one_usable_key() {
    let (first, second) = (key(SigningAlgorithm::Es256, "a"), key(SigningAlgorithm::EdDsa, "b"));
    let one = parse(&[first.jwk(), changed(&second, &json!({ "use": "enc" }))]);
    assert_eq!(choice(&one, None, Algorithm::Es256), Ok(Algorithm::Es256));
    assert_eq!(choice(&one, None, Algorithm::EdDsa), Err(AttestationError::WrongAlgorithm));
    let two = parse(&[first.jwk(), second.jwk()]);
    assert_eq!(choice(&two, None, Algorithm::Es256), Err(AttestationError::KeyIdMissing));
    assert_eq!(choice(&JwkSet::default(), None, Algorithm::Es256), Err(AttestationError::UnknownKey));
}

#[test]
fn kid_is_compared_exactly() {
    let set = parse(&[key(SigningAlgorithm::Es256, "key-1").jwk()]);
    assert!(set.names("key-1"));
    for kid in ["", "Key-1", "key-1 ", "key-10", "../key-1", "key-1\0", "key-\u{661}", "*"] {
        assert_eq!(choice(&set, Some(kid), Algorithm::Es256), Err(AttestationError::UnknownKey), "{kid:?}");
    }
}

#[test]
fn kid_of_several_keys_of_one_algorithm_names_none_and_leaves_others_in_force() {
    let (first, second) = (key(SigningAlgorithm::Es256, "same"), key(SigningAlgorithm::Es256, "same"));
    let (of_other_type, other) = (key(SigningAlgorithm::EdDsa, "same"), key(SigningAlgorithm::Es256, "other"));
    let set = parse(&[first.jwk(), second.jwk(), of_other_type.jwk(), other.jwk()]);
    assert_eq!(choice(&set, Some("same"), Algorithm::Es256), Err(AttestationError::AmbiguousKey));
    assert_eq!(choice(&set, Some("same"), Algorithm::EdDsa), Ok(Algorithm::EdDsa));
    assert_eq!(choice(&set, Some("other"), Algorithm::Es256), Ok(Algorithm::Es256));
    let twice = parse(&[first.jwk(), first.jwk()]);
    assert_eq!((twice.len(), choice(&twice, Some("same"), Algorithm::Es256)), (1, Ok(Algorithm::Es256)));
}

#[test]
fn keys_for_other_uses_are_unusable() {
    for algorithm in SigningAlgorithm::ALL {
        let key = key(algorithm, "k");
        for usable in [
            json!({}),
            json!({ "use": null, "alg": null }),
            json!({ "key_ops": ["sign", "verify"] }),
            json!({ "x5c": ["MII"], "x5t": 7, "nbf": 1, "issuer": "i" }),
        ] {
            assert!(is_usable(&key, &usable), "{algorithm:?} {usable}");
        }
        for unusable in [
            json!({ "use": "enc" }),
            json!({ "use": "SIG" }),
            json!({ "use": "x509-svid" }),
            json!({ "key_ops": [] }),
            json!({ "key_ops": ["sign"] }),
            json!({ "alg": "RS384" }),
            json!({ "alg": "PS256" }),
            json!({ "alg": "HS256" }),
            json!({ "alg": "none" }),
            json!({ "kty": "oct", "k": "c2VjcmV0" }),
            json!({ "kty": "rsa" }),
            json!({ "kid": "" }),
            json!({ "kid": "k".repeat(MAX_KEY_ID + 1) }),
            json!({ "d": "cHJpdmF0ZQ" }),
        ] {
            assert!(!is_usable(&key, &unusable), "{algorithm:?} {unusable}");
        }
    }
}

#[test]
fn keys_of_jwt_svids_and_others_are_kept_apart() {
    let key = key(SigningAlgorithm::Es256, "k");
    let svid = parse(&[changed(&key, &json!({ "use": "jwt-svid" }))]);
    assert!(svid.choose(Some("k"), Algorithm::Es256, Purpose::JwtSvid).is_ok());
    assert_eq!(choice(&svid, Some("k"), Algorithm::Es256), Err(AttestationError::UnknownKey));
    for usage in [json!("sig"), json!("x509-svid"), Value::Null] {
        let other = parse(&[changed(&key, &json!({ "use": usage }))]);
        let chosen = other.choose(Some("k"), Algorithm::Es256, Purpose::JwtSvid);
        assert_eq!(chosen.err(), Some(AttestationError::UnknownKey), "{usage}");
    }
}

fn number(bytes: &[u8]) -> Value {
    json!(BASE64URL_NOPAD.encode(bytes))
}

#[test]
fn weak_and_oversized_rsa_keys_are_unusable() {
    let key = key(SigningAlgorithm::Rs256, "k");
    let modulus = |bits: usize| {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        bytes[0] >>= bytes.len() * 8 - bits;
        number(&bytes)
    };
    for bits in [2048, 2049, 3072, 4096] {
        assert!(is_usable(&key, &json!({ "n": modulus(bits) })), "{bits}");
    }
    for bits in [8, 512, 1024, 2047, 4097, 16_384] {
        assert!(!is_usable(&key, &json!({ "n": modulus(bits) })), "{bits}");
    }
    let (mut even, mut padded) = (vec![0xff; 256], vec![0; 257]);
    even[255] = 0xfe;
    padded[1..].fill(0xff);
    for n in [number(&even), number(&padded), number(&[]), json!("a+b/"), json!("YQ==")] {
        assert!(!is_usable(&key, &json!({ "n": n })), "{n}");
    }
    for e in [&[3][..], &[1, 0, 1], &[0xff, 0xff, 0xff, 0xff]] {
        assert!(is_usable(&key, &json!({ "e": number(e) })), "{e:?}");
    }
    for e in [&[][..], &[0], &[1], &[2], &[0, 1, 0, 1], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        assert!(!is_usable(&key, &json!({ "e": number(e) })), "{e:?}");
    }
    assert!(!is_usable(&key, &json!({ "n": null })) && !is_usable(&key, &json!({ "e": null })));
}

#[test]
fn points_off_curve_of_small_order_and_of_other_curves_are_unusable() {
    let p256 = key(SigningAlgorithm::Es256, "k");
    for changes in [
        json!({ "x": number(&[1; 32]) }),
        json!({ "x": number(&[0; 32]), "y": number(&[0; 32]) }),
        json!({ "x": number(&[1; 31]) }),
        json!({ "y": null }),
        json!({ "crv": "P-384" }),
        json!({ "crv": "secp256k1" }),
        json!({ "crv": null }),
    ] {
        assert!(!is_usable(&p256, &changes), "{changes}");
    }
    let ed25519 = key(SigningAlgorithm::EdDsa, "k");
    let mut identity = [0; 32];
    identity[0] = 1;
    for changes in [
        json!({ "x": number(&identity) }),
        json!({ "x": number(&[0; 32]) }),
        json!({ "x": number(&[1; 31]) }),
        json!({ "crv": "Ed448" }),
        json!({ "crv": "X25519" }),
    ] {
        assert!(!is_usable(&ed25519, &changes), "{changes}");
    }
}

#[test]
fn rejects_texts_that_are_no_key_sets() {
    for text in [
        "",
        "<html></html>",
        "null",
        "[]",
        "{}",
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"keys":["key"]}"#,
        r#"{"keys":[{}]}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[{"kty":"RSA","kty":"EC"}]}"#,
        r#"{"keys":[{"kty":"EC","kid":7}]}"#,
        r#"{"keys":[]} x"#,
    ] {
        assert!(JwkSet::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(parse(&vec![json!({ "kty": "unknown" }); MAX_KEYS]).len() == 0);
    let many = json!({ "keys": vec![json!({ "kty": "unknown" }); MAX_KEYS + 1] });
    assert!(JwkSet::parse(many.to_string().as_bytes()).unwrap_err().to_string().contains("64 keys"));
}
