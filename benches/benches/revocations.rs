//! What the revocation check costs: `cargo bench -p agentwrit-bench --bench revocations`.
//!
//! A token of five hops, seen before, is verified beside a list of so many entries, and beside none: the difference is
//! the check of its 16 keys. Tokens are taken in no order, so that nothing of the list is in the processor's cache but
//! what fits there. A hit is a token whose root delegator was revoked: it is never remembered, so the check is measured
//! as what refusing costs more than verifying anew.

use std::{
    error::Error,
    hint::black_box,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use agentwrit_verify::{
    ClaimSet, Clock as _, Level, RevocationKey, RevocationList, UnixTime, Verifier, testing::TestIssuer,
};

const TOKENS: usize = 256;
const ROUNDS: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    let issuer = TestIssuer::new();
    let tokens: Vec<String> = (0..TOKENS).map(|_| issuer.sign(&five_hops(&issuer))).collect();
    let bare = verifier(&issuer, None);
    let without = median_per_token(&bare, &tokens);
    writeln!(out, "a seen token of five hops without a list: {without:.0} ns")?;
    writeln!(out, "{:>12} {:>16} {:>16} {:>14}", "entries", "seen, in ns", "the check, in ns", "bytes/entry")?;
    for entries in [1, 10_000, 100_000, 1_000_000] {
        let list = list(&issuer, entries);
        let beside = verifier(&issuer, Some(list.clone()));
        let with = median_per_token(&beside, &tokens);
        let bytes = list.memory() / list.len();
        writeln!(out, "{entries:>12} {with:>16.0} {:>16.0} {bytes:>14}", with - without)?;
    }
    deltas(&mut out, &issuer)
}

/// What an answer with one entry costs, whatever the list holds.
fn deltas(out: &mut impl io::Write, issuer: &TestIssuer) -> Result<(), Box<dyn Error>> {
    let list = list(issuer, 1_000_000);
    let (count, begun) = (10_000, Instant::now());
    for number in 0..count {
        insert(&list, issuer.clock().now(), 2_000_000 + number);
    }
    let each = begun.elapsed().as_nanos() / u128::from(count);
    writeln!(out, "one more entry beside 1,000,000: {each} ns")?;
    Ok(())
}

fn five_hops(issuer: &TestIssuer) -> ClaimSet {
    (0..5).fold(issuer.claims(&["read:data:*"]), |delegator, _| issuer.delegated(&delegator, &["read:data:*"]))
}

fn verifier(issuer: &TestIssuer, list: Option<RevocationList>) -> Verifier {
    let builder = Verifier::builder().issuer(TestIssuer::ISSUER).keys(issuer.key_set());
    let builder = match list {
        Some(list) => builder.revocations(list),
        None => builder.without_revocations(),
    };
    builder.clock(issuer.clock().clone()).build()
}

fn list(issuer: &TestIssuer, entries: u64) -> RevocationList {
    let list = RevocationList::authoritative(TestIssuer::ISSUER);
    (0..entries).for_each(|number| insert(&list, issuer.clock().now(), number));
    list
}

fn insert(list: &RevocationList, now: UnixTime, number: u64) {
    let key = RevocationKey::of(Level::Token, TestIssuer::ISSUER, &number.to_string());
    list.insert_key(key, now, now.saturating_add(Duration::from_secs(3600)));
}

fn median_per_token(verifier: &Verifier, tokens: &[String]) -> f64 {
    for _ in 0..3 {
        assert!(tokens.iter().all(|token| verifier.verify(token).is_ok()));
    }
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for token in tokens {
                black_box(verifier.verify(black_box(token)).is_ok());
            }
            begun.elapsed().as_secs_f64() * 1e9 / tokens.len() as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}
