//! Arbitrary text as a token: no panic, and no token accepted that the key did not sign.

use std::sync::OnceLock;

use agentwrit_verify::{ClaimSet, UnverifiedToken, Verifier, VerifyError, testing::TestIssuer};

fn target() -> &'static (TestIssuer, Verifier) {
    static TARGET: OnceLock<(TestIssuer, Verifier)> = OnceLock::new();
    TARGET.get_or_init(|| {
        let issuer = TestIssuer::new();
        let verifier = issuer.verifier();
        (issuer, verifier)
    })
}

/// Checks one input.
///
/// # Panics
///
/// When a property of the module is violated.
pub fn check(text: &str) {
    let (_, verifier) = target();
    let inspected = UnverifiedToken::decode(text);
    match verifier.verify(text) {
        // The seeds hold no signed token of this issuer, and signatures cannot be guessed.
        Ok(claims) => panic!("accepted: {claims:?}"),
        Err(error) => {
            assert!(error.to_string().len() < 1000, "messages truncate untrusted text");
            assert!(!error.to_string().contains('\n'), "messages are one line");
            if inspected.is_err() {
                assert!(!matches!(error, VerifyError::BadSignature | VerifyError::Expired { .. }));
            }
        }
    }
    if let Ok(token) = inspected {
        // One content has one encoding: three parts that decode and encode to themselves.
        for part in text.split('.') {
            let bytes = data_encoding::BASE64URL_NOPAD.decode(part.as_bytes());
            if let Ok(bytes) = bytes {
                assert_eq!(data_encoding::BASE64URL_NOPAD.encode(&bytes), part);
            }
        }
        let payload = data_encoding::BASE64URL_NOPAD.decode(text.split('.').nth(1).unwrap_or_default().as_bytes());
        let strict = payload.ok().and_then(|payload| agentwrit_json::object_from_slice::<ClaimSet>(&payload, 16).ok());
        assert_eq!(token.claims().ok(), strict, "claims are those of the strict parser");
    }
}
