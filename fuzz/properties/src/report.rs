//! Arbitrary reports of verifiers, forged or signed: only what the enrolled key signed is accepted, and an accepted report
//! is signed again to the same report.

use agentwrit_verify::{
    Clock as _,
    report::{Report, UnverifiedReport},
    testing::TestIssuer,
};

// A report that begins with `!` is not signed.
/// Checks one input.
///
/// # Panics
///
/// When a property of the module is violated.
pub fn check(input: &str) {
    let issuer = TestIssuer::new();
    let (key, now) = (issuer.signing_key(), issuer.clock().now());
    let signed = !input.starts_with('!');
    let text = if signed {
        key.sign_document(Report::MEDIA_TYPE, input.as_bytes())
    } else {
        input.trim_start_matches('!').to_owned()
    };
    let read = |text: &str| UnverifiedReport::decode(text)?.verify(key.public_key(), TestIssuer::ISSUER, now);
    match read(&text) {
        Ok(report) => {
            assert!(signed, "a forged signature was accepted");
            assert!(text.len() <= Report::MAX_LENGTH);
            let payload: serde_json::Value = serde_json::from_str(input).expect("an accepted payload is JSON");
            assert_eq!(payload["aud"], TestIssuer::ISSUER);
            assert_eq!(payload["cursor"], report.applied.position());
            assert_eq!(read(&report.sign(key)), Ok(report));
        }
        Err(error) => assert!(error.to_string().len() < 1000 && !error.reason().is_empty()),
    }
}
