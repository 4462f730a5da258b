//! Memory of a verifier that has cached tokens, as it is allocated.
#![expect(clippy::unwrap_used, reason = "an unexpected value fails the test")]

use agentwrit_verify::{Level, testing::TestIssuer};

const CONFIGURED: u64 = 4 << 20;

/// Fills the cache of a verifier with tokens that `make` returns; returns the bytes that it then holds.
fn held_after(number: usize, make: impl Fn(&TestIssuer) -> String) -> u64 {
    let issuer = TestIssuer::new();
    // So that the keys of its revocation are worked out for each token.
    issuer.revoke(Level::Token, &"0a".repeat(16));
    let tokens: Vec<String> = (0..number).map(|_| make(&issuer)).collect();
    let mut verifier = None;
    let allocated = allocation_counter::measure(|| {
        let new = issuer.verifier_builder().accept_any_audience().cache_memory(CONFIGURED).build();
        for token in &tokens {
            // Three uses: kept at the second, copied for this thread at the third.
            assert!((0..4).all(|_| new.verify(token).is_ok()));
        }
        verifier = Some(new);
    });
    assert!(verifier.unwrap().cached_tokens() < number, "all tokens fit: nothing is bounded");
    allocated.bytes_current.try_into().unwrap()
}

fn short_scopes() -> Vec<String> {
    (0..64).map(|scope| format!("a:b:{scope:x}")).collect()
}

fn assert_bounded(kind: &str, number: usize, make: impl Fn(&TestIssuer) -> String) {
    let held = held_after(number, make);
    assert!(held <= CONFIGURED, "{kind}: {held} bytes in a cache of {CONFIGURED}");
}

#[test]
fn cache_of_typical_tokens_holds_what_is_configured() {
    assert_bounded("three scopes", 2000, |issuer| issuer.token(&["read:data:one", "write:data:two", "read:notes:*"]));
}

#[test]
fn cache_of_tokens_with_many_short_scopes_holds_what_is_configured() {
    let scopes = short_scopes();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    assert_bounded("64 scopes", 1000, |issuer| issuer.token(&scopes));
}

#[test]
fn cache_of_delegated_tokens_with_many_short_scopes_holds_what_is_configured() {
    let scopes = short_scopes();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    assert_bounded("four hops of 64 scopes", 250, |issuer| {
        let claims = (0..4).fold(issuer.claims(&scopes), |delegator, _| issuer.delegated(&delegator, &scopes));
        issuer.sign(&claims)
    });
}

#[test]
fn cache_of_tokens_with_many_short_audiences_holds_what_is_configured() {
    assert_bounded("900 audiences", 200, |issuer| {
        let mut claims = issuer.claims(&["a:b:c"]);
        claims.aud = (0..900).map(|audience| (audience % 10).to_string()).collect();
        issuer.sign(&claims)
    });
}
