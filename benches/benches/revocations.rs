//! Cost of the revocation check: `cargo bench -p agentwrit-bench --bench revocations`.
//!
//! A cached token of five hops is verified with a list of this many entries, and with none: the difference is the check
//! of its 16 keys. Tokens are taken in random order, so that the processor's cache holds no more of the list than fits
//! into it. A miss finds none of its keys in the list; a hit finds nine of them (its agents, task, root and issuer),
//! each with a not-before time before the token's issue, so that the token is valid.

use std::{
    error::Error,
    hint::black_box,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use agentwrit_bench::rounds::as_float;
use agentwrit_verify::{
    ClaimSet, Clock as _, Level, RevocationKey, RevocationList, UnixTime, Verifier, testing::TestIssuer,
};

const TOKENS: usize = 256;
const ROUNDS: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    let issuer = TestIssuer::new();
    let claims: Vec<ClaimSet> = (0..TOKENS).map(|_| five_hops(&issuer)).collect();
    let tokens: Vec<String> = claims.iter().map(|claims| issuer.sign(claims)).collect();
    let bare = verifier(&issuer, None);
    let without = median_per_token(&bare, &tokens);
    writeln!(out, "a seen token of five hops without a list: {without:.0} ns")?;
    writeln!(
        out,
        "{:>12} {:>12} {:>14} {:>14} {:>12}",
        "entries", "seen, ns", "a miss, ns", "a hit, ns", "bytes/entry"
    )?;
    for entries in [1, 10_000, 100_000, 1_000_000] {
        let list = list(&issuer, entries);
        let beside = verifier(&issuer, Some(list.clone()));
        let with = median_per_token(&beside, &tokens);
        let bytes = list.memory() / list.len();
        mark(&list, &claims);
        let (miss, hit) = (with - without, median_per_token(&beside, &tokens) - without);
        writeln!(out, "{entries:>12} {with:>12.0} {miss:>14.0} {hit:>14.0} {bytes:>12}")?;
    }
    deltas(&mut out, &issuer)
}

/// Cost of a response with one entry, for lists of any length.
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

/// Not-before entries that do not affect the tokens, which were issued later.
fn mark(list: &RevocationList, claims: &[ClaimSet]) {
    for claims in claims {
        let before = UnixTime::from_seconds(claims.iat.saturating_sub(1));
        let expires = UnixTime::from_seconds(claims.exp);
        let chain = &claims.delegation_chain;
        let add = |level, target: &str| list.insert(level, target, before, expires);
        add(Level::Issuer, "");
        add(Level::Agent, &claims.sub.to_string());
        for hop in chain {
            add(Level::Agent, hop.agent.as_str());
        }
        chain.first().into_iter().for_each(|root| add(Level::Chain, root.agent.as_str()));
        claims.task_id.iter().for_each(|task| add(Level::Task, task.as_str()));
    }
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
            begun.elapsed().as_secs_f64() * 1e9 / as_float(tokens.len())
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}
