//! Any text as a token: no panic, and nothing accepted that our key did not sign.

use std::sync::OnceLock;

use agentwrit_verify::{UnverifiedToken, Verifier, VerifyError, testing::TestIssuer};

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
/// A property of the module does not hold.
pub fn check(text: &str) {
    let (_, verifier) = target();
    let inspected = UnverifiedToken::decode(text);
    match verifier.verify(text) {
        // The seeds hold no signed token of this issuer, and nobody guesses a signature.
        Ok(claims) => panic!("accepted: {claims:?}"),
        Err(error) => {
            assert!(error.to_string().len() < 1000, "what strangers write stays short in messages");
            assert!(!error.to_string().contains('\n'), "and on one line");
            if inspected.is_err() {
                assert!(!matches!(error, VerifyError::BadSignature | VerifyError::Expired { .. }));
            }
        }
    }
    if let Ok(token) = inspected {
        // One content has one spelling: three parts that decode and encode to themselves.
        for part in text.split('.') {
            let bytes = data_encoding::BASE64URL_NOPAD.decode(part.as_bytes());
            if let Ok(bytes) = bytes {
                assert_eq!(data_encoding::BASE64URL_NOPAD.encode(&bytes), part);
            }
        }
        let _claims = token.claims().is_ok();
    }
}
