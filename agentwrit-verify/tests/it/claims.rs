//! Checks of claims: presence, types, issuer, audience, and times to the second.

use std::time::Duration;

use agentwrit_verify::{TokenFormatError, UnixTime, VerifyError};
use serde_json::{Value, json};

use crate::support::{START, Target, at};

#[test]
fn rejects_token_without_a_required_claim() {
    let target = Target::new();
    for claim in ["iss", "sub", "exp", "nbf", "iat", "jti", "scope", "sid"] {
        let mut payload = target.payload();
        payload.as_object_mut().unwrap().remove(claim);
        let error = target.rejection(&target.signed(target.header().to_string(), payload.to_string()));
        let missing = format!("missing field `{claim}`");
        assert!(
            matches!(&error, VerifyError::Malformed(TokenFormatError::Claims { message }) if message.contains(&missing))
        );
    }
}

#[test]
fn rejects_claims_of_other_types() {
    let target = Target::new();
    let strange = [Value::Null, json!(true), json!({}), json!(-1), json!(1.5), json!([[]]), json!("")];
    for claim in ["sub", "exp", "nbf", "iat", "jti", "scope", "sid", "task_id", "orch_id", "delegation_chain", "aud"] {
        for value in &strange {
            let error = target.rejection(&target.with_claim(claim, value.clone()));
            assert!(
                matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })),
                "{claim}: {value}: {error}"
            );
        }
    }
    for value in strange.iter().filter(|value| !value.is_string()) {
        target.rejection(&target.with_claim("iss", value.clone()));
        target.rejection(&target.with_claim("chain_hash", value.clone()));
    }
}

#[test]
fn rejects_ambiguous_numbers() {
    let target = Target::new();
    let payload = target.payload().to_string();
    let exp = format!("\"exp\":{}", target.claims.exp);
    assert!(payload.contains(&exp));
    for number in ["1e10", "9999999999.0", "-0", "18446744073709551616", "\"9999999999\"", "[9999999999]"] {
        let payload = payload.replace(&exp, &format!("\"exp\":{number}"));
        let error = target.rejection(&target.signed(target.header().to_string(), payload));
        assert!(
            matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. }) | VerifyError::Expired { .. }),
            "{number}"
        );
    }
}

#[test]
fn rejects_malformed_identifiers() {
    let target = Target::new();
    let sub = target.claims.sub.to_string();
    for (claim, value) in [
        ("jti", target.claims.jti.to_string().replace('a', "A").replace('b', "B").to_uppercase()),
        ("jti", "0".repeat(31)),
        ("sid", "0".repeat(33)),
        ("sub", sub.to_uppercase()),
        ("sub", format!("{sub}/")),
        ("sub", String::from("Admin")),
        ("sub", String::from("app:app-web")),
        ("task_id", String::from("..")),
        ("orch_id", String::from("a/b")),
    ] {
        let error = target.rejection(&target.with_claim(claim, value.as_str()));
        assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })), "{claim}: {value}: {error}");
    }
    for scope in [json!([]), json!(["*:*:*"]), json!(["read:data"]), json!(["read:data:*", 1]), json!("read:data:*")] {
        target.rejection(&target.with_claim("scope", scope));
    }
    let many: Vec<String> = (0..65).map(|n| format!("read:data:{n}")).collect();
    target.rejection(&target.with_claim("scope", many));
}

#[test]
fn verified_claims_return_times_of_token() {
    let mut target = Target::new();
    (target.claims.iat, target.claims.nbf, target.claims.exp) = (START - 2, START - 1, START + 9);
    let claims = target.verifier.verify(&target.token()).unwrap();
    assert_eq!(
        (claims.issued_at(), claims.not_before(), claims.expires_at()),
        (at(START - 2), at(START - 1), at(START + 9))
    );
}

#[test]
fn rejects_other_issuers() {
    let target = Target::new();
    for iss in ["", "https://issuer.test/", "https://ISSUER.test", "http://issuer.test", "https://issuer.test\0", "*"] {
        let found = iss.replace('\0', "\\u{0}");
        assert_eq!(target.rejection(&target.with_claim("iss", iss)), VerifyError::WrongIssuer { found });
    }
    let long = target.rejection(&target.with_claim("iss", "x".repeat(5000)));
    assert_eq!(long, VerifyError::WrongIssuer { found: "x".repeat(64) });
}

#[test]
fn rejects_other_audiences() {
    let target = Target::new();
    let verifier = target.issuer.verifier_builder().audience("https://a.test").audience("https://b.test").build();
    let verdict = |aud: Value| verifier.verify(&target.with_claim("aud", aud)).map(drop);
    for aud in [json!(["https://a.test"]), json!(["x", "https://b.test"]), json!(["https://a.test", "https://b.test"])]
    {
        assert_eq!(verdict(aud), Ok(()));
    }
    for aud in [json!([]), json!(["https://a.test/"]), json!(["HTTPS://a.test"]), json!([""]), json!(["*"])] {
        assert_eq!(verdict(aud), Err(VerifyError::WrongAudience));
    }
    assert!(matches!(verdict(json!("https://a.test")), Err(VerifyError::Malformed(_))), "always a list here");
    assert_eq!(verifier.verify(&target.token()), Err(VerifyError::WrongAudience), "no audience is not every audience");
}

/// Returns the result for a token of these times at `now`.
fn verdicts(nbf: u64, iat: u64, exp: u64, now: UnixTime, leeway: u64) -> Result<(), VerifyError> {
    let mut target = Target::new();
    (target.claims.nbf, target.claims.iat, target.claims.exp) = (nbf, iat, exp);
    target.issuer.clock().set(now);
    let verifier = target.issuer.verifier_builder().leeway(Duration::from_secs(leeway)).build();
    let first = verifier.verify(&target.token()).map(drop);
    assert_eq!(verifier.verify(&target.token()).map(drop), first, "a hit says what the first sight said");
    first
}

#[test]
fn accepts_token_from_nbf_until_before_exp() {
    let (start, end) = (START + 100, START + 200);
    for leeway in [0, 5, 60] {
        let not_yet = |seconds| Err(VerifyError::NotYetValid { by: Duration::from_secs(seconds) });
        let verdict = |now| verdicts(start, start, end, at(now), leeway);
        assert_eq!(verdict(start - leeway - 2), not_yet(2));
        assert_eq!(verdict(start - leeway - 1), not_yet(1));
        for alive in [start - leeway, start, start + 1, end - 1] {
            assert_eq!(verdict(alive), Ok(()), "{alive}");
        }
        for (now, seconds) in [(end, 0), (end + 1, 1), (end + leeway, leeway)] {
            let error = verdict(now).unwrap_err();
            assert!(matches!(&error, VerifyError::Expired { by, .. } if by.as_secs() == seconds), "{now}: {error}");
        }
    }
}

#[test]
fn rounds_fractions_of_a_second_down() {
    let (start, end) = (START + 100, START + 200);
    let half_before = |seconds| UnixTime::since_epoch(Duration::from_millis(seconds * 1000 - 500));
    assert!(verdicts(start, start, end, half_before(start), 0).is_err());
    assert_eq!(verdicts(start, start, end, half_before(end), 0), Ok(()));
    assert!(verdicts(start, start, end, half_before(end + 1), 0).is_err());
}

#[test]
fn rejects_token_before_nbf_or_iat() {
    for (nbf, iat) in [(START + 100, START), (START, START + 100)] {
        let error = verdicts(nbf, iat, START + 200, at(START + 10), 5).unwrap_err();
        assert_eq!(error, VerifyError::NotYetValid { by: Duration::from_secs(85) });
    }
}

#[test]
fn accepts_extreme_times_without_overflow() {
    assert_eq!(verdicts(0, 0, u64::MAX, at(START), 5), Ok(()));
    assert!(matches!(verdicts(0, 0, 0, at(0), 5), Err(VerifyError::Expired { .. })));
    assert!(matches!(verdicts(u64::MAX, 0, u64::MAX, UnixTime::MAX, 5), Err(VerifyError::NotYetValid { .. })));
    assert!(matches!(verdicts(0, u64::MAX, u64::MAX, UnixTime::MAX, u64::MAX), Err(VerifyError::NotYetValid { .. })));
    assert_eq!(verdicts(0, 0, u64::MAX, UnixTime::MAX, u64::MAX), Ok(()));
}

#[test]
fn expired_error_holds_subject_and_token_id() {
    let target = Target::new();
    let token = target.token();
    target.issuer.clock().advance(Duration::from_secs(300));
    for error in [target.rejection(&token), target.rejection(&token)] {
        assert_eq!((error.subject(), error.token_id()), (Some(&target.claims.sub), Some(target.claims.jti)));
        assert_eq!(error.reason(), "expired");
    }
    let forged = target.rejection("a.b.c");
    assert_eq!((forged.subject(), forged.token_id()), (None, None));
}
