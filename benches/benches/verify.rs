//! Verification beside its peers, and its cache: `cargo bench -p agentwrit-bench --bench verify`.
//!
//! An argument is a part of the names of the groups to run: `-- cache`.

use std::error::Error;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use agentwrit_bench::caches::{self, BySignature, Verdict, WholeToken};
use agentwrit_bench::corpus::{AUDIENCE, Corpus, ISSUER, LEEWAY, shuffled};
use agentwrit_bench::is_wanted;
use agentwrit_bench::peers::Peers;
use agentwrit_bench::report::{Bound, Target, table, verdicts};
use agentwrit_bench::rounds::{Contender, Schedule, Series};
use agentwrit_verify::{
    ClaimSet, Clock as _, Level, RevocationKey, RevocationList, SystemClock, TrustedKeys, UnverifiedToken, Verifier,
    VerifierBuilder,
};
use data_encoding::BASE64URL_NOPAD;

const TOKENS: usize = 10_000;
// A turn takes about a millisecond: on a busy machine most turns end before the scheduler preempts them, and the median
// over many rounds omits the others.

/// Tokens that fill a cache before new tokens are measured, so that each of these evicts another entry and no page of
/// memory is touched for the first time, like in a service that has run for a while.
const EARLIER: usize = 8_000;
/// New tokens in a round: the corpus divides into rounds of tokens that no cache holds.
const FRESH: usize = 20;
/// Cached tokens in a round.
const SEEN: usize = 5_000;
/// Uses of one token in a round, for as long as threads that start at different times overlap.
const HOT: usize = 1_000_000;
const HOT_ROUNDS: usize = 15;
/// A peer that needs tens of microseconds verifies only one in this many of them.
const SPARSE: usize = 250;
/// Room for the whole corpus; the default would keep some 5,000 of these tokens.
const CACHE_MEMORY: u64 = 64 * 1024 * 1024;
const ROUNDS: usize = TOKENS / FRESH - 1;
/// Delegated tokens, and new ones in a round: each takes as long as six others.
const DELEGATED: usize = 2_000;
const FRESH_DELEGATED: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Corpus::new((TOKENS + EARLIER) as u64)?;
    let peers = Peers::new(&corpus)?;
    let mut out = io::stdout().lock();
    let (size, claims) = (corpus.token(0).text.len(), corpus.token(0).claims_length());
    writeln!(out, "tokens of {size} bytes, {claims} of them claims as JSON, 3 scopes; {ROUNDS} rounds, interleaved")?;

    let mut targets = Vec::new();
    if is_wanted("first sight") {
        let series = first_sight(&corpus, &peers);
        table(&mut out, "First sight of a token, one thread (ratio to agentwrit-verify)", &series)?;
        targets.extend(first_sight_targets(&series));
        table(&mut out, "Its parts, one thread (ratio to the whole)", &parts(&corpus))?;
    }
    if is_wanted("delegated") {
        let series = delegated(&corpus, &peers)?;
        table(&mut out, "First sight of a token of five delegations, one thread", &series)?;
        targets.extend(delegated_targets(&series));
    }
    if is_wanted("seen") {
        let series = seen(&corpus, &peers, 1, |_| vec![0; SEEN]);
        table(&mut out, "A token seen before, one thread (ratio to agentwrit-verify)", &series)?;
        targets.extend(seen_targets(&series));
        let series = seen(&corpus, &peers, 1, all_of_them);
        table(&mut out, "10,000 live tokens in no order, one thread", &series)?;
        let (one, two) = (hot(&corpus, 1), hot(&corpus, 2));
        table(&mut out, "One hot token for some 100 ms, one thread", &one)?;
        table(&mut out, "One hot token for some 100 ms, two threads at once", &two)?;
        targets.extend(hot_targets(&one, &two));
        let series = seen(&corpus, &peers, 2, all_of_them);
        table(&mut out, "10,000 live tokens in no order, two threads at once", &series)?;
    }
    if is_wanted("cache") {
        for (title, threads, picks) in [
            ("Caches alone: one hot key, one thread", 1, one_of_them as fn(usize) -> Vec<usize>),
            ("Caches alone: 10,000 keys in no order, one thread", 1, all_of_them),
            ("Caches alone: one hot key, two threads at once", 2, one_of_them),
            ("Caches alone: 10,000 keys in no order, two threads at once", 2, all_of_them),
        ] {
            table(&mut out, title, &cached(&corpus, threads, picks))?;
        }
        table(&mut out, "Caches alone: inserting into a full cache, one thread", &inserted(&corpus))?;
    }
    verdicts(&mut out, &targets)?;
    Ok(())
}

fn one_of_them(_: usize) -> Vec<usize> {
    vec![0; SEEN]
}

fn all_of_them(round: usize) -> Vec<usize> {
    let mut picks = shuffled(TOKENS);
    picks.rotate_left(round * SEEN % TOKENS);
    picks.truncate(SEEN);
    picks
}

/// Returns the tokens that are new in a round.
fn fresh(round: usize) -> Vec<usize> {
    (round * FRESH..(round + 1) * FRESH).collect()
}

// --- agentwrit-verify and its peers ----------------------------------------------------------------------------------

fn first_sight(corpus: &Corpus, peers: &Peers) -> Vec<Series> {
    let (cached, uncached) = (verifier(corpus, VerifierBuilder::DEFAULT_CACHE_MEMORY), verifier(corpus, 0));
    for number in TOKENS..TOKENS + EARLIER {
        // A token is cached from its second verification on.
        for _ in 0..2 {
            assert!(cached.verify(&corpus.token(number).text).is_ok(), "the corpus is good");
        }
    }
    assert!((1..EARLIER).contains(&cached.cached_tokens()), "the cache is full");
    let contenders = [
        Contender::new("agentwrit-verify, cache full of others", |n| cached.verify(&corpus.token(n).text).is_ok()),
        Contender::new("agentwrit-verify, cache off", |n| uncached.verify(&corpus.token(n).text).is_ok()),
        Contender::new("ed25519-dalek 3, `verify` alone", |n| peers.dalek(corpus.token(n))),
        Contender::new("jsonwebtoken 11 (rust_crypto)", |n| peers.jsonwebtoken(corpus.token(n))),
        Contender::new("jwt-authorizer 0.15 (ring)", |n| peers.jwt_authorizer(corpus.token(n))),
        Contender::new("oauth-resource-server 0.4 (ring)", |n| peers.oauth_resource_server(corpus.token(n))),
    ];
    Schedule { rounds: ROUNDS, threads: 1 }.measure(&contenders, fresh)
}

fn first_sight_targets(series: &[Series]) -> Vec<Target> {
    let [own, uncached, dalek, jsonwebtoken, ..] = series else { return Vec::new() };
    let target = |name, series: &Series, other, most| Target {
        name,
        measured: series.ratio_to(other),
        bound: Bound::AtMost(most),
    };
    vec![
        target("first sight, in terms of jsonwebtoken's time", own, jsonwebtoken, 0.60),
        target("the same with the cache off", uncached, jsonwebtoken, 0.60),
        target("first sight, in terms of raw dalek `verify`", own, dalek, 0.70),
        target("the same with the cache off", uncached, dalek, 0.70),
    ]
}

/// Tokens of five delegations: a verifier checks six signatures, all by the broker's key.
fn delegated(corpus: &Corpus, peers: &Peers) -> Result<Vec<Series>, Box<dyn Error>> {
    let tokens = Corpus::delegated(DELEGATED as u64)?;
    let (with_tables, plain) = (verifier(corpus, 0), verifier_of(corpus.key_set().without_tables().into(), 0));
    let accepted =
        |verifier: &Verifier, n: usize| tokens.get(n).is_some_and(|token| verifier.verify(&token.text).is_ok());
    let contenders = [
        Contender::new("agentwrit-verify", |n| accepted(&with_tables, n)),
        Contender::new("agentwrit-verify, no tables of known keys", |n| accepted(&plain, n)),
        Contender::new("ed25519-dalek 3, `verify` alone, six times", |n| {
            let signatures = tokens.get(n).map(|token| token.signatures.as_slice()).unwrap_or_default();
            signatures.len() == 6
                && signatures.iter().all(|(message, signature)| peers.dalek_verify(message, signature))
        }),
    ];
    let fresh = |round: usize| (round * FRESH_DELEGATED..(round + 1) * FRESH_DELEGATED).collect();
    Ok(Schedule { rounds: DELEGATED / FRESH_DELEGATED - 1, threads: 1 }.measure(&contenders, fresh))
}

fn delegated_targets(series: &[Series]) -> Vec<Target> {
    let [own, _, dalek] = series else { return Vec::new() };
    let name = "five delegations, in terms of six raw dalek `verify`";
    vec![Target { name, measured: own.ratio_to(dalek), bound: Bound::AtMost(0.65) }]
}

/// Parts of the verification of a new token, to locate a slowdown.
fn parts(corpus: &Corpus) -> Vec<Series> {
    let verifier = verifier(corpus, 0);
    let unverified: Vec<_> =
        corpus.tokens().iter().filter_map(|token| UnverifiedToken::decode(&token.text).ok()).collect();
    // The key with its table.
    let in_force = corpus.trusted_keys().key_set();
    let key = in_force.as_ref().and_then(|set| set.iter().next());
    let signature =
        |n: usize| key.is_some_and(|key| key.verifies(corpus.token(n).signed_part(), &corpus.token(n).signature));
    let marks = |n: usize| {
        // Revocation keys of a token without delegation: `jti`, `sid`, subject, task, chain and issuer.
        let subject = corpus.token(n).subject.as_str();
        for (level, target) in [
            (Level::Token, "0123456789abcdef0123456789abcdef"),
            (Level::Session, "0123456789abcdef0123456789abcdef"),
            (Level::Agent, subject),
            (Level::Task, "review-2026-11-21-00004217"),
            (Level::Chain, subject),
            (Level::Issuer, ""),
        ] {
            black_box(RevocationKey::of(level, ISSUER, target));
        }
        true
    };
    let contenders = [
        Contender::new("the whole, cache off", |n| verifier.verify(&corpus.token(n).text).is_ok()),
        Contender::new("signature", signature),
        Contender::new("claims", |n| unverified.get(n).is_some_and(|token| token.claims().is_ok())),
        Contender::new("claims, strict parser of any form", |n| {
            let payload = corpus.token(n).text.split('.').nth(1).unwrap_or_default();
            let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap_or_default();
            agentwrit_json::object_from_slice::<ClaimSet>(&payload, 16).is_ok()
        }),
        Contender::new("header", |n| UnverifiedToken::decode(&corpus.token(n).text).is_ok()),
        Contender::new("header and claims", |n| {
            UnverifiedToken::decode(&corpus.token(n).text).is_ok_and(|token| token.claims().is_ok())
        }),
        Contender::new("header, signature and claims", |n| {
            UnverifiedToken::decode(&corpus.token(n).text).is_ok_and(|token| signature(n) && token.claims().is_ok())
        }),
        Contender::new("six revocation keys", marks),
    ];
    Schedule { rounds: ROUNDS, threads: 1 }.measure(&contenders, fresh)
}

fn seen(corpus: &Corpus, peers: &Peers, threads: usize, picks: impl Fn(usize) -> Vec<usize>) -> Vec<Series> {
    let (plain, revoking) = (verifier(corpus, CACHE_MEMORY), revoking_verifier(corpus));
    for token in corpus.tokens().iter().take(TOKENS) {
        assert!(plain.verify(&token.text).is_ok() && revoking.verify(&token.text).is_ok(), "the corpus is good");
    }
    let contenders = [
        Contender::new("agentwrit-verify", |n| plain.verify(&corpus.token(n).text).is_ok()),
        Contender::new("agentwrit-verify, 1,000 revocations in force", |n| {
            revoking.verify(&corpus.token(n).text).is_ok()
        }),
        Contender::new("jsonwebtoken 11 (rust_crypto)", |n| peers.jsonwebtoken(corpus.token(n))).sampled(SPARSE),
        Contender::new("jwt-authorizer 0.15 (ring)", |n| peers.jwt_authorizer(corpus.token(n))).sampled(SPARSE),
        Contender::new("oauth-resource-server 0.4 (ring)", |n| peers.oauth_resource_server(corpus.token(n)))
            .sampled(SPARSE),
        Contender::new("reading the token's bytes, nothing else", |n| {
            corpus.token(n).text.bytes().fold(0, |sum, byte| sum | byte).is_ascii()
        }),
    ];
    Schedule { rounds: ROUNDS, threads }.measure(&contenders, picks)
}

/// One token for so long that the threads overlap nearly all the time.
fn hot(corpus: &Corpus, threads: usize) -> Vec<Series> {
    // Beside so small a cache a verifier keeps no copies for threads.
    let (copied, shared) = (verifier(corpus, CACHE_MEMORY), verifier(corpus, 100_000));
    let contenders = [
        Contender::new("agentwrit-verify", |n| copied.verify(&corpus.token(n).text).is_ok()),
        Contender::new("agentwrit-verify, no copies for threads", |n| shared.verify(&corpus.token(n).text).is_ok()),
        // Two threads with a processor each take one thread's time for it.
        Contender::new("reading the token's bytes, nothing else", |n| {
            corpus.token(n).text.bytes().fold(0, |sum, byte| sum | byte).is_ascii()
        }),
    ];
    Schedule { rounds: HOT_ROUNDS, threads }.measure(&contenders, |_| vec![0; HOT])
}

fn hot_targets(one: &[Series], two: &[Series]) -> Vec<Target> {
    let ([one, ..], [two, ..]) = (one, two) else { return Vec::new() };
    vec![Target {
        name: "a hot token on two threads, in terms of one thread's time",
        measured: two.median() / one.median(),
        bound: Bound::AtMost(1.1),
    }]
}

fn seen_targets(series: &[Series]) -> Vec<Target> {
    let [own, revoking, jsonwebtoken, ..] = series else { return Vec::new() };
    vec![
        Target { name: "a seen token, in ns", measured: own.median(), bound: Bound::AtMost(100.0) },
        Target {
            name: "a seen token with 1,000 revocations, in ns",
            measured: revoking.median(),
            bound: Bound::AtMost(300.0),
        },
        Target {
            name: "a seen token, times faster than jsonwebtoken",
            measured: jsonwebtoken.ratio_to(own),
            bound: Bound::AtLeast(100.0),
        },
    ]
}

fn verifier(corpus: &Corpus, cache_memory: u64) -> Verifier {
    verifier_of(corpus.trusted_keys().clone(), cache_memory)
}

fn verifier_of(keys: TrustedKeys, cache_memory: u64) -> Verifier {
    let builder = Verifier::builder().issuer(ISSUER).keys(keys).without_revocations();
    builder.audience(AUDIENCE).leeway(LEEWAY).cache_memory(cache_memory).build()
}

/// The same beside revocations of other tokens, agents and tasks.
fn revoking_verifier(corpus: &Corpus) -> Verifier {
    let list = RevocationList::authoritative(ISSUER);
    let now = SystemClock.now();
    for number in 0..1_000 {
        let level = [Level::Token, Level::Agent, Level::Task].into_iter().cycle().nth(number).unwrap_or(Level::Task);
        list.insert(level, &format!("revoked-{number}"), now, now.saturating_add(Duration::from_secs(3600)));
    }
    let builder = Verifier::builder().issuer(ISSUER).keys(corpus.trusted_keys().clone()).revocations(list);
    builder.audience(AUDIENCE).leeway(LEEWAY).cache_memory(CACHE_MEMORY).build()
}

// --- the caches alone ------------------------------------------------------------------------------------------------

/// Approximate memory of a token's claims.
const CLAIMS_BYTES: u32 = 1024;
/// Room for the whole corpus and a quarter more.
const ROOMY: u64 = 2048 * TOKENS as u64 * 5 / 4;

fn verdict() -> Arc<Verdict> {
    Arc::new(Verdict { lifetime: Duration::from_secs(3600), bytes: CLAIMS_BYTES })
}

fn cached(corpus: &Corpus, threads: usize, picks: impl Fn(usize) -> Vec<usize>) -> Vec<Series> {
    let moka = filled_moka(corpus, caches::moka::<WholeToken>(ROOMY));
    let moka_tail = filled_moka(corpus, caches::moka::<BySignature>(ROOMY));
    let moka_timeless = filled_moka(corpus, caches::moka_without_expiry::<WholeToken>(ROOMY));
    let moka_sip = filled_moka(corpus, caches::moka::<std::hash::RandomState>(ROOMY));
    let quick = filled_quick(corpus, caches::quick::<WholeToken>(ROOMY, TOKENS));
    let quick_tail = filled_quick(corpus, caches::quick::<BySignature>(ROOMY, TOKENS));
    let contenders = [
        Contender::new("quick_cache, foldhash of the signature's tail", |n| {
            quick_tail.get(corpus.token(n).text.as_str()).is_some()
        }),
        Contender::new("quick_cache, foldhash of the whole token", |n| {
            quick.get(corpus.token(n).text.as_str()).is_some()
        }),
        Contender::new("moka, foldhash of the signature's tail", |n| {
            moka_tail.get(corpus.token(n).text.as_str()).is_some()
        }),
        Contender::new("moka, foldhash of the whole token", |n| moka.get(corpus.token(n).text.as_str()).is_some()),
        Contender::new("moka, the same without expiry", |n| moka_timeless.get(corpus.token(n).text.as_str()).is_some()),
        Contender::new("moka, SipHash of the whole token (default)", |n| {
            moka_sip.get(corpus.token(n).text.as_str()).is_some()
        }),
    ];
    Schedule { rounds: ROUNDS, threads }.measure(&contenders, picks)
}

fn filled_moka<B: BuildHasher + Clone + Send + Sync + 'static>(
    corpus: &Corpus,
    cache: caches::Moka<B>,
) -> caches::Moka<B> {
    for token in corpus.tokens().iter().take(TOKENS) {
        cache.insert(token.text.as_str().into(), verdict());
    }
    cache.run_pending_tasks();
    cache
}

fn filled_quick<B: BuildHasher + Clone>(corpus: &Corpus, cache: caches::Quick<B>) -> caches::Quick<B> {
    for token in corpus.tokens().iter().take(TOKENS) {
        cache.insert(token.text.as_str().into(), verdict());
    }
    cache
}

/// Stream of new tokens: each insertion evicts another entry.
fn inserted(corpus: &Corpus) -> Vec<Series> {
    let moka = filled_moka(corpus, caches::moka::<WholeToken>(ROOMY / 4));
    let quick = filled_quick(corpus, caches::quick::<WholeToken>(ROOMY / 4, TOKENS / 4));
    let contenders = [
        Contender::new("quick_cache", |n| {
            quick.insert(corpus.token(n).text.as_str().into(), verdict());
            true
        }),
        Contender::new("moka", |n| {
            moka.insert(corpus.token(n).text.as_str().into(), verdict());
            true
        }),
    ];
    Schedule { rounds: ROUNDS, threads: 1 }.measure(&contenders, fresh)
}
