//! An inspection agrees with `verify` and continues after a failure.

use agentwrit_verify::{
    Level, VerifyError,
    inspection::{Check, CheckResult, Inspection},
};

use crate::support::{START, Target};

/// The checks that failed, and those that were not reached.
fn not_passed(inspection: &Inspection) -> (Vec<Check>, Vec<Check>) {
    let failed = |check: &Check| matches!(inspection.outcome(*check), CheckResult::Failed(_));
    let not_reached = |check: &Check| *inspection.outcome(*check) == CheckResult::NotReached;
    (Check::ALL.into_iter().filter(failed).collect(), Check::ALL.into_iter().filter(not_reached).collect())
}

#[test]
fn reports_each_failed_check_separately() {
    let target = Target::new();
    let forged = format!("{}A", target.token().strip_suffix(|_: char| true).unwrap());
    let foreign = Target { issuer: agentwrit_verify::testing::TestIssuer::with_seed([9; 32]), ..Target::new() };
    let scopes = serde_json::json!(["read:data:*"]);
    for (name, token, failed) in [
        ("good", target.token(), &[][..]),
        ("forged", forged, &[Check::Signature]),
        ("another key", foreign.token(), &[Check::Key]),
        ("issuer", target.with_claim("iss", "https://other.test"), &[Check::Issuer]),
        ("audience", target.with_claim("aud", serde_json::json!(["https://other.test"])), &[Check::Audience]),
        ("chain", target.with_claim("chain_hash", "00".repeat(32)), &[Check::Chain]),
        ("expired", target.with_claim("exp", START), &[Check::Times]),
    ] {
        let inspection = target.verifier.inspect(&token);
        let (found, not_reached) = not_passed(&inspection);
        assert_eq!(found, failed, "{name}");
        assert_eq!(not_reached, if name == "another key" { vec![Check::Signature] } else { vec![] }, "{name}");
        assert_eq!(inspection.is_valid(), target.verifier.verify(&token).is_ok(), "{name}");
        assert_eq!(serde_json::to_value(&inspection.claims().unwrap().scope).unwrap(), scopes, "{name}");
    }
}

#[test]
fn reports_revocation_and_expiry_together() {
    let target = Target::new();
    target.issuer.revoke(Level::Token, &target.claims.jti.to_string());
    let token = target.with_claim("exp", START);
    let inspection = target.verifier.inspect(&token);
    assert_eq!(not_passed(&inspection).0, [Check::Times, Check::Revocation]);
    assert!(matches!(inspection.outcome(Check::Revocation), CheckResult::Failed(VerifyError::Revoked { .. })));
}

#[test]
fn reports_only_format_for_malformed_token() {
    let target = Target::new();
    for text in ["", "a.b.c", "not a token", &"x".repeat(9000)] {
        let inspection = target.verifier.inspect(text);
        let (failed, not_reached) = not_passed(&inspection);
        assert_eq!((failed.as_slice(), not_reached.len()), (&[Check::Format][..], 7), "{text:.20}");
        assert!(inspection.claims().is_none());
    }
}

#[test]
fn reports_missing_keys() {
    let target = Target::new();
    let keys = agentwrit_verify::TrustedKeys::following(None);
    let verifier = agentwrit_verify::Verifier::builder().issuer("https://issuer.test").keys(keys).without_revocations();
    let inspection = verifier.build().inspect(&target.token());
    assert!(!inspection.is_valid());
    assert_eq!(inspection.outcome(Check::Key), &CheckResult::Failed(VerifyError::KeysUnavailable));
    assert_eq!(inspection.outcome(Check::Chain), &CheckResult::NotReached);
}
