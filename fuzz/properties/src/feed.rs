//! Arbitrary responses of the revocation feed, forged or signed: a rejected response changes no entry, time and log never
//! go back, and the entries of an accepted response are in the list.

use std::sync::OnceLock;

use agentwrit_verify::{
    Clock as _, KeySet,
    feed::{ClockReading, Feed, Staleness},
    testing::TestIssuer,
};

fn issuer() -> &'static (TestIssuer, KeySet) {
    static ISSUER: OnceLock<(TestIssuer, KeySet)> = OnceLock::new();
    ISSUER.get_or_init(|| {
        let issuer = TestIssuer::new();
        let keys = issuer.key_set();
        (issuer, keys)
    })
}

// Responses are separated by zero bytes; one that begins with `!` is not signed.
/// Checks one input.
///
/// # Panics
///
/// When a property of the module is violated.
pub fn check(input: &str) {
    let (issuer, keys) = issuer();
    let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default());
    let now = ClockReading::of(issuer.clock());
    for text in input.split('\0').take(8) {
        let signed = !text.starts_with('!');
        let response = if signed {
            issuer.signing_key().sign_document(Feed::MEDIA_TYPE, text.as_bytes())
        } else {
            text.trim_start_matches('!').to_owned()
        };
        let before = (feed.list().len(), feed.list().age(now));
        match feed.apply(&response, keys, now) {
            Ok(applied) => {
                assert!(signed, "a forged signature was accepted");
                assert!(!applied.snapshot || before.0 > 0 || applied.entries >= feed.list().len());
                assert!(feed.list().age(now).is_some(), "the list has an age after an accepted response");
                let payload: serde_json::Value = serde_json::from_str(text).expect("an accepted payload is JSON");
                assert_eq!(payload["iss"], TestIssuer::ISSUER);
                let ahead = issuer.clock().now().seconds() + 5;
                assert!(payload["iat"].as_u64().is_some_and(|iat| iat <= ahead));
            }
            Err(error) => {
                assert!(error.to_string().len() < 1000);
                // A response from the future marks the list stale: its age never decreases.
                assert_eq!(feed.list().len(), before.0, "a rejected response changes nothing");
                assert!(feed.list().age(now) >= before.1);
            }
        }
    }
}
