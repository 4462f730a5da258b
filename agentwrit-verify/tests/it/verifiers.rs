//! Several issuers side by side, and the verdict at another moment.

use std::time::Duration;

use agentwrit_verify::{
    KeySet, Level, Staleness, UnixTime, Verifier, Verifiers, VerifiersError, VerifyError,
    issue::SigningKey,
    testing::{TestFollower, TestIssuer},
};

use crate::support::{START, Target, at};

const OTHER: &str = "https://other.test";

/// A token of the other issuer, and its verifier on the same clock.
fn other(issuer: &TestIssuer) -> (String, Verifier) {
    let key = SigningKey::from_seed(&[8; 32]).unwrap();
    let claims = agentwrit_verify::ClaimSet { iss: OTHER.into(), ..issuer.claims(&["a:b:c"]) };
    let keys = KeySet::new([key.public_key().clone()]).unwrap();
    let builder = Verifier::builder().issuer(OTHER).keys(keys).without_revocations();
    (key.sign_token(&claims), builder.clock(issuer.clock().clone()).build())
}

#[test]
fn selects_verifier_by_issuer() {
    let issuer = TestIssuer::new();
    let (theirs, other) = other(&issuer);
    let verifiers = Verifiers::new([issuer.verifier(), other.clone()]).unwrap();
    let ours = issuer.token(&["a:b:c"]);
    for _ in 0..3 {
        assert_eq!(verifiers.verify(&ours).unwrap().issuer(), TestIssuer::ISSUER);
        assert_eq!(verifiers.verify(&theirs).unwrap().issuer(), OTHER);
    }
    assert_eq!((issuer.verifier().cached_tokens(), other.cached_tokens()), (1, 1));
    assert_eq!(other.status().cache_misses, 2, "remembered like by one verifier alone");

    let claims = agentwrit_verify::ClaimSet { iss: "https://third.test".into(), ..issuer.claims(&["a:b:c"]) };
    let unknown = VerifyError::WrongIssuer { found: "https://third.test".into() };
    assert_eq!(verifiers.verify(&issuer.sign(&claims)), Err(unknown));
    let swapped = agentwrit_verify::ClaimSet { iss: OTHER.into(), ..issuer.claims(&["a:b:c"]) };
    let foreign_key = verifiers.verify(&issuer.sign(&swapped)).unwrap_err();
    assert!(matches!(foreign_key, VerifyError::UnknownKey { .. }), "{foreign_key:?}");
    assert!(matches!(verifiers.verify("e30.e30.e30"), Err(VerifyError::Malformed(_))));

    issuer.revoke(Level::Task, "task");
    assert!(matches!(verifiers.verify(&ours), Err(VerifyError::Revoked { .. })));
    assert!(verifiers.verify(&theirs).is_ok());
}

#[test]
fn rejects_two_verifiers_of_one_issuer() {
    let issuer = TestIssuer::new();
    let twice = Verifiers::new([issuer.verifier(), issuer.verifier()]);
    assert_eq!(twice.err(), Some(VerifiersError::Duplicate { issuer: TestIssuer::ISSUER.into() }));
    assert_eq!(Verifiers::new([]).err(), Some(VerifiersError::Empty));
    let only = Verifiers::from(issuer.verifier());
    assert!(only.is_ready() && only.verify(&issuer.token(&["a:b:c"])).is_ok());
    let (theirs, _) = other(&issuer);
    assert!(matches!(only.verify(&theirs), Err(VerifyError::UnknownKey { .. })), "as the verifier itself says");
}

#[test]
fn rejects_token_with_audience_when_verifier_has_none() {
    let target = Target::new();
    let token = target.with_claim("aud", vec!["https://a.test"]);
    assert_eq!(target.rejection(&token), VerifyError::WrongAudience);
    let build = |audience: &str| target.issuer.verifier_builder().audience(audience).build();
    assert!(build("https://a.test").verify(&token).is_ok());
    assert_eq!(build("https://b.test").verify(&token), Err(VerifyError::WrongAudience));
    assert_eq!(build("https://a.test").verify(&target.token()), Err(VerifyError::WrongAudience));
    let any = target.issuer.verifier_builder().audience("https://b.test").accept_any_audience().build();
    assert!(any.verify(&token).is_ok() && any.verify(&target.token()).is_ok());
}

#[test]
fn verify_at_returns_result_of_another_time() {
    let target = Target::new();
    let (verifier, token) = (&target.verifier, target.token());
    let verdict = |seconds: u64| verifier.verify_at(&token, at(seconds)).map(|claims| claims.jti);
    target.issuer.clock().advance(Duration::from_secs(100));
    target.issuer.revoke(Level::Token, &target.claims.jti.to_string());
    target.issuer.clock().advance(Duration::from_secs(1000));

    assert!(matches!(verdict(START - 6), Err(VerifyError::NotYetValid { .. })));
    assert_eq!(verdict(START), Ok(target.claims.jti));
    assert_eq!(verdict(START + 99), Ok(target.claims.jti));
    assert!(matches!(verdict(START + 100), Err(VerifyError::Revoked { level: Level::Token, .. })));
    assert!(matches!(verdict(START + 300), Err(VerifyError::Expired { .. })));
    assert_eq!(
        verifier.verify_at("e30.e30.e30", UnixTime::default()).map(drop),
        verifier.verify("e30.e30.e30").map(drop)
    );
    assert_eq!(verifier.cached_tokens(), 0);
    let mark = target.issuer.claims(&["a:b:c"]);
    target.issuer.revoke(Level::Agent, &mark.sub.to_string());
    let token = target.issuer.sign(&mark);
    assert!(matches!(verifier.verify_at(&token, at(mark.iat)), Err(VerifyError::Revoked { level: Level::Agent, .. })));
}

#[test]
fn verify_at_requires_first_revocation_list_and_accepts_stale_one() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["a:b:c"]);
    let mut follower = TestFollower::of(&issuer, Staleness::default());
    let verdict = |follower: &TestFollower| follower.verifier().verify_at(&token, at(START)).map(|claims| claims.iss);
    assert_eq!(verdict(&follower), Err(VerifyError::RevocationsUnavailable));
    follower.poll(&issuer).unwrap();
    issuer.clock().advance(Duration::from_secs(100));
    assert!(matches!(follower.verifier().verify(&token), Err(VerifyError::StaleRevocations { .. })));
    assert_eq!(verdict(&follower), Ok(TestIssuer::ISSUER.to_owned()));
}
