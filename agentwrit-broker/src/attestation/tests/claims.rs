//! Issuers, audiences, times and claims that nearly match.

use super::*;

async fn judged(test: &Test, changes: Value) -> Result<(), AttestationError> {
    test.verify(&key(Algorithm::Es256).token(&test.claims_with(&changes))).await.map(drop)
}

#[tokio::test]
async fn rejects_near_misses_of_issuer_without_fetch() {
    let test = Test::new();
    let issuer = test.provider.issuer();
    for near in [
        format!("{issuer}/"),
        issuer.to_uppercase(),
        issuer.replace("http", "https"),
        issuer.replace("127.0.0.1", "localhost"),
        format!(" {issuer}"),
        format!("{issuer}\0"),
        issuer.chars().take(issuer.len() - 1).collect(),
        issuer.replace("127", "\u{661}27"),
    ] {
        assert_eq!(judged(&test, json!({ "iss": near })).await, Err(AttestationError::UnknownIssuer), "{near:?}");
    }
    for wrong in [json!([issuer]), json!(7), json!({}), json!("")] {
        assert_eq!(judged(&test, json!({ "iss": wrong })).await, Err(AttestationError::MalformedToken), "{wrong}");
    }
    assert_eq!(judged(&test, json!({ "iss": null })).await, Err(AttestationError::MalformedToken));
    assert_eq!(test.provider.fetches(), 0);
}

#[tokio::test]
async fn accepts_audience_in_list_and_rejects_near_misses() {
    let test = Test::new();
    assert_eq!(judged(&test, json!({ "aud": ["https://other.example", AUDIENCE] })).await, Ok(()));
    for near in [
        json!(format!("{AUDIENCE}/")),
        json!(AUDIENCE.to_uppercase()),
        json!(format!("{AUDIENCE}.evil")),
        json!(AUDIENCE.get(..10)),
        json!([]),
        json!([format!("{AUDIENCE} https://other.example")]),
        json!(null),
    ] {
        assert_eq!(judged(&test, json!({ "aud": near })).await, Err(AttestationError::AudienceMismatch), "{near}");
    }
    for wrong in [json!(7), json!({ "0": AUDIENCE }), json!([AUDIENCE, null]), json!([[AUDIENCE]])] {
        assert_eq!(judged(&test, json!({ "aud": wrong })).await, Err(AttestationError::MalformedClaims), "{wrong}");
    }
}

#[tokio::test]
async fn rejects_near_misses_of_claims() {
    let test = Test::new();
    for near in [
        "repo:acme/app",
        "repo:acme/app-evil:ref:refs/heads/main",
        "repo:Acme/app:ref:refs/heads/main",
        "repo:acme/app\u{ff1a}ref:refs/heads/main",
        "repo:\u{430}cme/app:ref:refs/heads/main",
        " repo:acme/app:ref:refs/heads/main",
        "x",
    ] {
        assert_eq!(judged(&test, json!({ "sub": near })).await, Err(AttestationError::ClaimsMismatch), "{near}");
    }
    for wrong in [json!(["repo:acme/app:x"]), json!(7), json!(""), json!({}), json!(null)] {
        let reason = judged(&test, json!({ "sub": wrong })).await.unwrap_err();
        // A `sub` that is no text is found before any rule is.
        let expected =
            if wrong.is_null() { AttestationError::MalformedClaims } else { AttestationError::MalformedToken };
        assert_eq!(reason, expected, "{wrong}");
    }
}

#[tokio::test]
async fn times_count_by_brokers_clock_up_to_their_edges() {
    let test = Test::new();
    let token = test.token();
    test.clock.set(UnixTime::from_seconds(NOW - 60));
    assert!(test.verify(&token).await.is_ok());
    test.clock.set(UnixTime::from_seconds(NOW - 61));
    assert_eq!(test.rejected(&token).await, AttestationError::NotYetValid);
    test.clock.set(UnixTime::from_seconds(NOW + 299));
    assert!(test.verify(&token).await.is_ok());
    test.clock.set(UnixTime::from_seconds(NOW + 300));
    assert_eq!(test.rejected(&token).await, AttestationError::Expired);
}

#[tokio::test]
async fn rejects_lifetimes_beyond_a_day_and_tokens_without_expiry() {
    const DAY: u64 = 24 * 3600;
    let test = Test::new();
    assert_eq!(judged(&test, json!({ "exp": NOW + DAY })).await, Ok(()));
    for (changes, expected) in [
        (json!({ "exp": NOW + DAY + 1 }), AttestationError::LifetimeTooLong),
        (json!({ "exp": NOW + DAY + 1, "iat": null }), AttestationError::LifetimeTooLong),
        (json!({ "exp": NOW + 1, "iat": NOW - DAY }), AttestationError::LifetimeTooLong),
        (json!({ "exp": null }), AttestationError::ExpiryMissing),
        (json!({ "exp": "never" }), AttestationError::MalformedClaims),
        (json!({ "jti": 7 }), AttestationError::MalformedClaims),
        (json!({ "jti": "" }), AttestationError::MalformedClaims),
    ] {
        assert_eq!(judged(&test, changes.clone()).await, Err(expected), "{changes}");
    }
}

#[tokio::test]
async fn claims_of_token_with_bad_signature_are_not_judged() {
    let test = Test::new();
    let (signed, _) = test.token().rsplit_once('.').map(|(signed, rest)| (signed.to_owned(), rest.to_owned())).unwrap();
    let stolen = key(Algorithm::Es256).token(&test.claims_with(&json!({ "exp": 1 })));
    let (_, signature) = stolen.rsplit_once('.').unwrap();
    assert_eq!(test.rejected(&format!("{signed}.{signature}")).await, AttestationError::BadSignature);
    assert_eq!(test.rejected(&stolen).await, AttestationError::Expired);
}
