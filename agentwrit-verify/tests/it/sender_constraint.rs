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
    let bound = ClaimSet { cnf: Some(SenderConstraint { jkt: thumbprint() }), ..target.claims.clone() };
    let token = target.issuer.sign(&bound);
    let required = VerifyError::ProofRequired { subject: bound.sub, token_id: bound.jti };
    let several = Verifiers::from(target.verifier.clone());
    // The third time from the cache.
    for _ in 0..3 {
        assert_eq!(target.rejection(&token), required);
        assert_eq!(target.verifier.verify_token(&token).unwrap_err(), required);
        assert_eq!(several.verify(&token).unwrap_err(), required);
        assert_eq!(several.verify_token(&token).unwrap_err(), required);
    }
    assert!(target.verifier.cached_tokens() > 0, "the token was not cached");
    assert_eq!(required.reason(), "proof_required");
    assert!(!required.is_unavailable());
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
    let bound = target.with_claim("cnf", json!({"jkt": jkt}));
    assert!(matches!(target.rejection(&bound), VerifyError::ProofRequired { .. }));
}
