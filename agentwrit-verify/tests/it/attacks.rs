//! Attacks of contract §3 on header, key and signature. Each forged token differs from a valid one only in what its
//! test names.

use agentwrit_verify::{
    KeySet, PublicKey, TokenFormatError, TrustedKeys, UnverifiedToken, Verifier, VerifyError, issue::SigningKey,
    testing::TestIssuer,
};
use curve25519_dalek::constants::EIGHT_TORSION;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::support::{Target, encode, signed_by};

#[test]
fn accepts_valid_token() {
    let target = Target::new();
    target.assert_accepted(&target.token());
    target.assert_accepted(&target.issuer.sign(&target.claims));
}

#[test]
fn rejects_alg_none_in_any_case() {
    let target = Target::new();
    for spelling in ["none", "None", "NONE", "nOnE", "none ", " none", "", "n\u{6f}ne\0", "null"] {
        let token = target.with_header("alg", spelling);
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        for token in [token.clone(), format!("{unsigned}."), format!("{unsigned}.AA")] {
            assert!(matches!(target.rejection(&token), VerifyError::UnsupportedAlgorithm { .. }), "{spelling:?}");
        }
        assert_eq!(target.rejection(unsigned), TokenFormatError::NotThreeParts.into());
    }
    for value in [Value::Null, json!(false), json!(0), json!(["EdDSA"]), json!({"EdDSA": null})] {
        assert!(matches!(target.rejection(&target.with_header("alg", value)), VerifyError::Malformed(_)));
    }
    let without = json!({"typ": "JWT", "kid": target.header()["kid"]}).to_string();
    let token = target.signed(without, target.payload().to_string());
    assert!(matches!(target.rejection(&token), VerifyError::Malformed(TokenFormatError::Header { .. })));
}

#[test]
fn rejects_hs256_with_public_key_as_secret() {
    let target = Target::new();
    let key_set = target.issuer.key_set();
    let key = key_set.iter().next().unwrap();
    let jwks = key_set.to_jwks();
    let (x, kid) = (encode(key.as_bytes()), key.id().as_str().to_owned());
    for secret in [&key.as_bytes()[..], x.as_bytes(), jwks.as_bytes(), kid.as_bytes(), b""] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = jsonwebtoken::Header::new(algorithm);
            header.kid = Some(kid.clone());
            let token = jsonwebtoken::encode(&header, &target.claims, &EncodingKey::from_secret(secret)).unwrap();
            let expected = VerifyError::UnsupportedAlgorithm { algorithm: format!("{algorithm:?}") };
            assert_eq!(target.rejection(&token), expected);
            // The MAC under the expected `alg`, for verifiers that dispatch on the key.
            let (signed, mac) = token.rsplit_once('.').unwrap();
            let payload = signed.split_once('.').unwrap().1;
            let renamed = format!("{}.{payload}.{mac}", encode(target.header().to_string()));
            assert!(matches!(
                target.rejection(&renamed),
                VerifyError::BadSignature | VerifyError::Malformed(TokenFormatError::SignatureLength)
            ));
        }
    }
}

#[test]
fn rejects_other_algorithms_and_other_cases_of_eddsa() {
    let target = Target::new();
    for algorithm in ["EDDSA", "eddsa", "ed25519", "ED25519", "EdDSA ", "Ed448", "Ed25519ph", "ES256", "RS256", "PS256"]
    {
        let expected = VerifyError::UnsupportedAlgorithm { algorithm: algorithm.into() };
        assert_eq!(target.rejection(&target.with_header("alg", algorithm)), expected);
    }
    target.assert_accepted(&target.with_header("alg", "Ed25519"));
}

#[test]
fn rejects_key_in_header() {
    let target = Target::new();
    let attacker = SigningKey::from_seed(&[9; 32]).unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(attacker.public_key().as_bytes())});
    for member in ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256"] {
        for value in [jwk.clone(), json!("https://attacker.test/jwks.json"), json!([]), json!(false), Value::Null] {
            let mut header = target.header();
            header[member] = value;
            let expected = VerifyError::KeyInHeader { member };
            let payload = target.payload().to_string();
            assert_eq!(target.rejection(&target.signed(header.to_string(), &payload)), expected);
            header["kid"] = attacker.id().as_str().into();
            assert_eq!(target.rejection(&signed_by(&attacker, header.to_string(), payload)), expected);
        }
    }
}

#[test]
fn rejects_critical_extensions() {
    let target = Target::new();
    for value in [json!(["exp"]), json!(["b64"]), json!([]), json!("alg"), json!(0), Value::Null] {
        assert_eq!(target.rejection(&target.with_header("crit", value)), VerifyError::CriticalHeader);
    }
    // RFC 7797 §6: `b64` takes effect only when it is critical; a verifier without support ignores it.
    target.assert_accepted(&target.with_header("b64", false));
}

#[test]
fn rejects_other_media_types() {
    let target = Target::new();
    for found in
        ["agentwrit-revocations+jwt", "JOSE", "JWS", "dpop+jwt", "application/at+jwt", "JWT ", "JWT\0", "J\u{17f}T", ""]
    {
        let token = target.with_header("typ", found);
        assert!(matches!(target.rejection(&token), VerifyError::UnexpectedType { .. }), "{found:?}");
        assert!(matches!(UnverifiedToken::decode(&token), Err(VerifyError::UnexpectedType { .. })));
    }
    let feed = serde_json::to_vec(&target.claims).unwrap();
    let feed = target.issuer.signing_key().sign_document("agentwrit-revocations+jwt", &feed);
    assert_eq!(target.rejection(&feed), VerifyError::UnexpectedType { found: "agentwrit-revocations+jwt".into() });
    for value in [Value::Null, json!(1), json!(["JWT"])] {
        assert!(matches!(target.rejection(&target.with_header("typ", value)), VerifyError::Malformed(_)));
    }
    for same in ["JWT", "jwt", "at+jwt", "AT+JWT"] {
        target.assert_accepted(&target.with_header("typ", same));
    }
    let untyped = json!({"alg": "EdDSA", "kid": target.header()["kid"]}).to_string();
    target.assert_accepted(&target.signed(untyped, target.payload().to_string()));
}

#[test]
fn rejects_unknown_key_ids() {
    let target = Target::new();
    let kid = target.issuer.signing_key().id().as_str().to_owned();
    for unknown in ["x", "../../../../dev/null", "' OR 1=1 --", "*", &kid.to_lowercase(), &kid[1..], &format!("{kid}=")]
    {
        let kid = Some(unknown.to_owned()).filter(|kid| !kid.contains(' '));
        let expected = kid.map_or(TokenFormatError::KeyId.into(), |kid| VerifyError::UnknownKey { kid: Some(kid) });
        assert_eq!(target.rejection(&target.with_header("kid", unknown)), expected);
    }
    for kid in ["", "a b", "a\n", "\0", "é", &"k".repeat(129)] {
        assert_eq!(target.rejection(&target.with_header("kid", kid)), TokenFormatError::KeyId.into());
    }
    for kid in [Value::Null, json!(1), json!([kid]), json!({"kid": kid})] {
        assert!(matches!(target.rejection(&target.with_header("kid", kid)), VerifyError::Malformed(_)));
    }
}

#[test]
fn rejects_key_id_of_another_trusted_key() {
    let target = Target::new();
    let other = SigningKey::from_seed(&[9; 32]).unwrap();
    let both = [target.issuer.signing_key().public_key().clone(), other.public_key().clone()];
    target.issuer.trusted_keys().publish(KeySet::new(both).unwrap(), std::time::Instant::now());
    target.assert_accepted(&target.token());
    assert_eq!(target.rejection(&target.with_header("kid", other.id().as_str())), VerifyError::BadSignature);
}

#[test]
fn rejects_key_id_that_contains_json_members() {
    let target = Target::new();
    let x = encode(target.issuer.signing_key().public_key().as_bytes());
    let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a\",\"crit\":\"b", "x": x}]});
    let keys = KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
    target.issuer.trusted_keys().publish(keys, std::time::Instant::now());
    let token = target.signed(r#"{"alg":"EdDSA","typ":"JWT","kid":"a","crit":"b"}"#, target.payload().to_string());
    assert_eq!(target.rejection(&token), VerifyError::CriticalHeader);
    target.assert_accepted(&target.with_header("kid", "a\",\"crit\":\"b"));
}

#[test]
fn requires_key_id_unless_there_is_one_key() {
    let target = Target::new();
    let anonymous = json!({"alg": "EdDSA", "typ": "JWT"}).to_string();
    let token = target.signed(&anonymous, target.payload().to_string());
    target.assert_accepted(&token);
    let forged = signed_by(&SigningKey::from_seed(&[9; 32]).unwrap(), &anonymous, target.payload().to_string());
    assert_eq!(target.rejection(&forged), VerifyError::BadSignature);

    let other = SigningKey::from_seed(&[9; 32]).unwrap().public_key().clone();
    let both = KeySet::new([target.issuer.signing_key().public_key().clone(), other]).unwrap();
    let verifier = Verifier::builder().issuer(TestIssuer::ISSUER).keys(both).without_revocations().build();
    assert_eq!(verifier.verify(&token), Err(VerifyError::UnknownKey { kid: None }));
}

#[test]
fn rejects_signature_of_another_key() {
    let target = Target::new();
    let attacker = SigningKey::from_seed(&[9; 32]).unwrap();
    let forged = signed_by(&attacker, target.header().to_string(), target.payload().to_string());
    assert_eq!(target.rejection(&forged), VerifyError::BadSignature);
    let named = VerifyError::UnknownKey { kid: Some(attacker.id().to_string()) };
    assert_eq!(target.rejection(&attacker.sign_token(&target.claims)), named);
}

#[test]
fn rejects_signature_over_other_claims() {
    let target = Target::new();
    let wider = target.issuer.sign(&target.issuer.claims(&["write:data:*"]));
    let (claims, _) = wider.rsplit_once('.').unwrap();
    let token = target.token();
    let (_, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(target.rejection(&format!("{claims}.{signature}")), VerifyError::BadSignature);
}

#[test]
fn rejects_signature_with_s_beyond_the_order() {
    // RFC 8032 §5.1.7: S + L satisfies the equation just as S does.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let target = Target::new();
    let token = target.token();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let mut signature = target.issuer.signing_key().sign(signed.as_bytes());
    let mut carry = 0;
    for (byte, of_order) in signature[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(of_order);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert_eq!(target.rejection(&format!("{signed}.{}", encode(signature))), VerifyError::BadSignature);
    for bit in 0..512 {
        let mut flipped = target.issuer.signing_key().sign(signed.as_bytes());
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(target.rejection(&format!("{signed}.{}", encode(flipped))), VerifyError::BadSignature);
    }
}

#[test]
fn rejects_signatures_of_other_lengths() {
    let target = Target::new();
    let token = target.token();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let signature = target.issuer.signing_key().sign(signed.as_bytes());
    for bytes in
        [&[][..], &signature[..63], &[&signature[..], &[0]].concat(), &[&signature[..], &signature[..]].concat()]
    {
        let error = target.rejection(&format!("{signed}.{}", encode(bytes)));
        assert_eq!(error, TokenFormatError::SignatureLength.into());
    }
}

#[test]
fn rejects_keys_of_small_order() {
    for point in EIGHT_TORSION {
        let canonical = point.compress().to_bytes();
        assert!(PublicKey::from_bytes(&canonical).is_err());
        let mut negative = canonical;
        negative[31] ^= 0x80;
        assert!(PublicKey::from_bytes(&negative).is_err());
        let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "weak", "x": encode(canonical)}]});
        assert!(KeySet::from_jwks(jwks.to_string().as_bytes()).is_err());
    }
    // y = p and y = p + 1: 0 and 1 in a second spelling.
    for low in [0xed, 0xee] {
        let mut bytes = [0xff; 32];
        bytes[0] = low;
        for high in [0x7f, 0xff] {
            bytes[31] = high;
            assert!(PublicKey::from_bytes(&bytes).is_err());
        }
    }
}

#[test]
fn rejects_token_when_key_set_lacks_its_key() {
    let target = Target::new();
    let other = SigningKey::from_seed(&[9; 32]).unwrap().public_key().clone();
    target.issuer.trusted_keys().publish(KeySet::new([other]).unwrap(), std::time::Instant::now());
    let kid = Some(target.issuer.signing_key().id().to_string());
    assert_eq!(target.rejection(&target.token()), VerifyError::UnknownKey { kid });

    let empty = Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None));
    let empty = empty.without_revocations().build();
    assert_eq!(empty.verify(&target.token()), Err(VerifyError::KeysUnavailable));
    assert!(!empty.is_ready());
}

#[test]
fn error_messages_truncate_and_escape_untrusted_text() {
    let target = Target::new();
    let forged = format!("x\r\n[AA:AUTH:OK] \u{1b}[31m{}", "y".repeat(500));
    let errors = [target.with_header("alg", forged.as_str()), target.with_header("typ", forged.as_str())];
    for error in errors.map(|token| target.rejection(&token).to_string()) {
        assert!(error.len() < 200 && !error.contains(char::is_control), "{error:?}");
    }
}

#[test]
fn debug_output_omits_token() {
    let target = Target::new();
    let token = target.token();
    target.assert_accepted(&token);
    target.issuer.revoke(agentwrit_verify::Level::Agent, &target.claims.sub.to_string());
    let unverified = UnverifiedToken::decode(&token).unwrap();
    let outputs = [
        format!("{:?}", target.verifier),
        format!("{:?}", target.issuer),
        format!("{unverified:?}"),
        format!("{:?}", target.issuer.revocations()),
        format!("{:?}", target.rejection(&token)),
    ];
    let signature: [u8; 64] = data_encoding::BASE64URL_NOPAD
        .decode(token.rsplit('.').next().unwrap().as_bytes())
        .unwrap()
        .try_into()
        .unwrap();
    for output in &outputs {
        for part in token.split('.').skip(1) {
            assert!(!output.contains(part), "{output}");
        }
        assert!(!output.contains(&format!("{signature:?}")), "{output}");
    }
    assert!(outputs[2].contains(target.issuer.signing_key().id().as_str()), "the header is shown");
    assert!(outputs[3].contains("entries: 1"), "{}", outputs[3]);
    assert!(!outputs[3].contains(&target.claims.sub.to_string()));
}
