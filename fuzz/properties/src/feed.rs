//! Any answer of the revocation feed, forged or rightly signed: what is refused changes no entry, time and log never go
//! back, and what is accepted is in the list.

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

// Answers are parted by zero bytes; one that begins with `!` is not signed.
/// Checks one input.
///
/// # Panics
///
/// A property of the module does not hold.
pub fn check(input: &str) {
    let (issuer, keys) = issuer();
    let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default());
    let now = ClockReading::of(issuer.clock());
    for text in input.split('\0').take(8) {
        let signed = !text.starts_with('!');
        let answer = if signed {
            issuer.signing_key().sign_document(Feed::MEDIA_TYPE, text.as_bytes())
        } else {
            text.trim_start_matches('!').to_owned()
        };
        let before = (feed.list().len(), feed.list().age(now));
        match feed.apply(&answer, keys, now) {
            Ok(applied) => {
                assert!(signed, "nobody guesses a signature");
                assert!(!applied.snapshot || before.0 > 0 || applied.entries >= feed.list().len());
                assert!(feed.list().age(now).is_some(), "an accepted answer tells how old the list is");
                let payload: serde_json::Value = serde_json::from_str(text).expect("what we accept is JSON");
                assert_eq!(payload["iss"], TestIssuer::ISSUER);
                let ahead = issuer.clock().now().seconds() + 5;
                assert!(payload["iat"].as_u64().is_some_and(|iat| iat <= ahead));
            }
            Err(error) => {
                assert!(error.to_string().len() < 1000);
                // An answer from the future says that this clock is no measure: the list gets older, never younger.
                assert_eq!(feed.list().len(), before.0, "what is refused changes nothing");
                assert!(feed.list().age(now) >= before.1);
            }
        }
    }
}
