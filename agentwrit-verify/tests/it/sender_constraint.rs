//! Sender-constrained tokens without a proof (RFC 9449 §7.2) and malformed confirmation claims.

use agentwrit_verify::{
    ClaimSet, SenderConstraint, Thumbprint, TokenFormatError, Verifiers, VerifyError, inspection::Check,
    inspection::CheckResult, issue::SigningKey,
};
use serde_json::{Value, json};

use crate::support::{Target, at};

fn thumbprint() -> Thumbprint {
    SigningKey::from_seed(&[3; 32]).unwrap().public_key().thumbprint()
}

#[test]
fn rfc_9449_section_7_2_rejects_bound_token_presented_as_bearer_token() {
    let target = Target::new();
    let token = target.issuer.bound_token(&["read:data:*"], thumbprint());
    let several = Verifiers::from(target.verifier.clone());
    // The third time from the cache.
    for _ in 0..3 {
        assert_eq!(target.rejection(&token), VerifyError::ProofRequired);
        assert_eq!(target.verifier.verify_token(&token).unwrap_err(), VerifyError::ProofRequired);
        assert_eq!(several.verify(&token), Err(VerifyError::ProofRequired));
        assert_eq!(several.verify_token(&token).unwrap_err(), VerifyError::ProofRequired);
    }
    assert!(target.verifier.cached_tokens() > 0, "the token was not cached");
    assert_eq!(VerifyError::ProofRequired.reason(), "proof_required");
    assert!(!VerifyError::ProofRequired.is_unavailable());
}

#[test]
fn introspection_of_bound_token_returns_its_constraint() {
    let target = Target::new();
    let bound = ClaimSet { cnf: Some(SenderConstraint { jkt: thumbprint() }), ..target.claims.clone() };
    let token = target.issuer.sign(&bound);
    assert_eq!(target.verifier.verify_without_proof(&token), Ok(bound.clone()));
    assert_eq!(target.verifier.verify_at(&token, at(bound.iat)), Ok(bound.clone()));
    let inspection = target.verifier.inspect(&token);
    assert!(inspection.is_valid());
    assert_eq!(inspection.claims(), Some(&bound));

    target.issuer.revoke(agentwrit_verify::Level::Token, &bound.jti.to_string());
    assert!(matches!(target.verifier.verify_without_proof(&token), Err(VerifyError::Revoked { .. })));
    // The reason that matters to the audit comes first.
    assert!(matches!(target.rejection(&token), VerifyError::Revoked { .. }));
    assert!(matches!(target.verifier.inspect(&token).outcome(Check::Revocation), CheckResult::Failed(_)));
}

#[test]
fn rejects_malformed_confirmation_claims() {
    let target = Target::new();
    let jkt = thumbprint().to_string();
    for cnf in [
        Value::Null,
        json!({}),
        json!(jkt),
        json!([jkt]),
        json!({"jkt": null}),
        json!({"jkt": "short"}),
        json!({"jkt": format!("{jkt}=")}),
        // Another confirmation method, alone and beside ours (RFC 7800 §3.1, RFC 8705 §3.1).
        json!({"x5t#S256": jkt}),
        json!({"jkt": jkt, "x5t#S256": jkt}),
    ] {
        let error = target.rejection(&target.with_claim("cnf", cnf.clone()));
        assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })), "{cnf}: {error}");
    }
    let twice = format!(r#","cnf":{{"jkt":"{jkt}"}},"cnf":{{"jkt":"{jkt}"}}"#);
    assert!(matches!(target.rejection(&target.with_payload_text(&twice)), VerifyError::Malformed(_)));
    assert_eq!(target.rejection(&target.with_claim("cnf", json!({"jkt": jkt}))), VerifyError::ProofRequired);
}
