//! Arbitrary header and payload, signed: an accepted token has the same claims for a plain JSON parser.

use std::sync::OnceLock;

use agentwrit_verify::{Verifier, testing::TestIssuer};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

fn target() -> &'static (TestIssuer, Verifier) {
    static TARGET: OnceLock<(TestIssuer, Verifier)> = OnceLock::new();
    TARGET.get_or_init(|| {
        let issuer = TestIssuer::new();
        let verifier = issuer.verifier_builder().cache_memory(0).build();
        (issuer, verifier)
    })
}

/// Checks one input.
///
/// # Panics
///
/// When a property of the module is violated.
pub fn check(input: &[u8]) {
    let (issuer, verifier) = target();
    // Header and payload are separated by a zero byte; an empty header stands for the usual one.
    let zero = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (header, rest) = input.split_at(zero);
    let payload = rest.get(1..).unwrap_or_default();
    let usual = format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{}"}}"#, issuer.signing_key().id());
    let header = if header.is_empty() { usual.as_bytes() } else { header };
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(payload));
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&issuer.signing_key().sign(signed.as_bytes())));
    if let Ok(claims) = verifier.verify(&token) {
        let theirs: Value = serde_json::from_slice(payload).expect("an accepted part is JSON");
        let ours = serde_json::to_value(&*claims).expect("claims are JSON");
        for (name, value) in ours.as_object().expect("an object") {
            assert_eq!(Some(value), theirs.get(name), "{name}");
        }
        let header: Value = serde_json::from_slice(header).expect("an accepted part is JSON");
        assert!(matches!(header["alg"].as_str(), Some("EdDSA" | "Ed25519")));
        assert!(header.get("crit").is_none() && header.get("jwk").is_none() && header.get("jku").is_none());
    }
}
