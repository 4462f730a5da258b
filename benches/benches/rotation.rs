//! Verification before, during and after a key rotation: `cargo bench -p agentwrit-bench --bench rotation`.
//!
//! 1. Four verifiers stand at four stages of one rotation: their keys were replaced as often as the rotation had published
//!    a set until then.
//! 2. The tokens differ in their key only. Rounds interleave, as in `verify`.
//! 3. A fifth verifier's keys are published again by another thread, every 10 milliseconds: more often than any rotation.

use std::{
    error::Error,
    io::{self, Write as _},
    slice,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use agentwrit_bench::{
    corpus::{AUDIENCE, Corpus, ISSUER, LEEWAY},
    report::{Bound, Target, table, verdicts},
    rounds::{Contender, Schedule, Series},
};
use agentwrit_verify::{KeySet, TrustedKeys, Verifier};

const TOKENS: usize = 10_000;
/// Tokens of a round that the verifiers meet for the first time.
const FRESH: usize = 20;
/// Verifications of one cached token in a round.
const SEEN: usize = 5_000;
const ROUNDS: usize = TOKENS / FRESH - 1;
const CACHE_MEMORY: u64 = 64 * 1024 * 1024;
/// Interval at which the keys of the fifth verifier are published.
const INTERVAL: Duration = Duration::from_millis(10);
/// Ratio to the verification before the rotation that still counts as equal: two identical contenders differ by as much.
const EQUAL: f64 = 1.03;

fn main() -> Result<(), Box<dyn Error>> {
    let rotation = Rotation { old: Corpus::new(TOKENS as u64)?, new: Corpus::after_rotation(TOKENS as u64)? };
    let mut out = io::stdout().lock();
    writeln!(out, "{ROUNDS} rounds, interleaved")?;
    let mut targets = Vec::new();
    for (title, cache_memory, picks) in [
        ("First sight of a token, one thread", 0, fresh as fn(usize) -> Vec<usize>),
        ("A token seen before, one thread", CACHE_MEMORY, |_| vec![0; SEEN]),
    ] {
        let series = rotation.measure(cache_memory, picks)?;
        table(&mut out, title, &series)?;
        targets.extend(equal_to_first(&series));
    }
    verdicts(&mut out, &targets)?;
    Ok(())
}

/// Returns the tokens that are new in a round.
fn fresh(round: usize) -> Vec<usize> {
    (round * FRESH..(round + 1) * FRESH).collect()
}

fn equal_to_first(series: &[Series]) -> Vec<Target> {
    let [before, rest @ ..] = series else { return Vec::new() };
    let target =
        |series: &Series| Target { name: series.name, measured: series.ratio_to(before), bound: Bound::AtMost(EQUAL) };
    rest.iter().map(target).collect()
}

/// Tokens of the key before the rotation, and of the key after it.
struct Rotation {
    old: Corpus,
    new: Corpus,
}

impl Rotation {
    fn measure(&self, cache_memory: u64, picks: fn(usize) -> Vec<usize>) -> Result<Vec<Series>, Box<dyn Error>> {
        let Self { old, new } = self;
        let set = |corpora: &[&Corpus]| KeySet::new(corpora.iter().flat_map(|corpus| corpus.key_set().iter()).cloned());
        let stages = [set(&[old])?, set(&[old, new])?, set(&[new, old])?, set(&[new])?];
        let verifier = |stages: &[KeySet]| {
            let keys = published(stages);
            let builder = Verifier::builder().issuer(ISSUER).keys(keys.clone()).without_revocations();
            (builder.audience(AUDIENCE).leeway(LEEWAY).cache_memory(cache_memory).build(), keys)
        };
        let [one, two, three, _] = &stages;
        let (before, _) = verifier(slice::from_ref(one));
        let (prepared, _) = verifier(&[one.clone(), two.clone()]);
        let (activated, _) = verifier(&[one.clone(), two.clone(), three.clone()]);
        let (after, _) = verifier(&stages);
        let (busy, busy_keys) = verifier(slice::from_ref(two));
        let contenders = [
            Contender::new("before: one key", |n| before.verify(&old.token(n).text).is_ok()),
            Contender::new("next key prepared", |n| prepared.verify(&old.token(n).text).is_ok()),
            Contender::new("next key active, its token", |n| activated.verify(&new.token(n).text).is_ok()),
            Contender::new("next key active, former key's token", |n| activated.verify(&old.token(n).text).is_ok()),
            Contender::new("after: former key retired", |n| after.verify(&new.token(n).text).is_ok()),
            Contender::new("keys published every 10 ms", |n| busy.verify(&old.token(n).text).is_ok()),
        ];
        let ended = AtomicBool::new(false);
        Ok(thread::scope(|scope| {
            scope.spawn(|| {
                for set in [two, three].into_iter().cycle().take_while(|_| !ended.load(Ordering::Relaxed)) {
                    busy_keys.publish(set.clone(), Instant::now());
                    thread::sleep(INTERVAL);
                }
            });
            let series = Schedule { rounds: ROUNDS, threads: 1 }.measure(&contenders, picks);
            ended.store(true, Ordering::Relaxed);
            series
        }))
    }
}

/// Publishes the sets one after another.
fn published(stages: &[KeySet]) -> TrustedKeys {
    let keys = TrustedKeys::following(None);
    for set in stages {
        keys.publish(set.clone(), Instant::now());
    }
    keys
}
