//! Replays every stored fuzz input without a fuzzer: a property that was broken once is checked in every test run.

#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]

use std::{cell::Cell, fs, path::Path};

use agentwrit_fuzz_properties::{feed, key_set, known_key, proof, report, scope, signed, token};
use arbitrary::{Arbitrary, Unstructured};

/// Runs a check on every stored input of a target: its seeds, and inputs stored after fuzzing.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let mut replayed = 0;
    for file in fs::read_dir(directory).unwrap() {
        check(&fs::read(file.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "no seeds of {target}");
}

/// Decodes an input as libFuzzer's bindings do.
fn decode<'a, T: Arbitrary<'a>>(input: &'a [u8]) -> T {
    T::arbitrary_take_rest(Unstructured::new(input)).unwrap()
}

#[test]
fn feed_seeds_satisfy_properties() {
    replay("feed", |input| feed::check(decode(input)));
}

#[test]
fn key_set_seeds_satisfy_properties() {
    replay("key_set", |input| key_set::check(decode(input)));
}

#[test]
fn known_key_seeds_satisfy_properties() {
    let accepted = Cell::new(0);
    replay("known_key", |input| accepted.set(accepted.get() + u32::from(known_key::check(decode(input)))));
    assert_eq!(accepted.get(), 2, "of two keys, unchanged");
}

#[test]
fn proof_seeds_satisfy_properties() {
    let accepted = Cell::new(0);
    replay("proof", |input| accepted.set(accepted.get() + u32::from(proof::check(decode(input)))));
    assert_eq!(accepted.get(), 6, "plain, query, spelling, fraction, nonce and header are accepted");
}

#[test]
fn report_seeds_satisfy_properties() {
    replay("report", |input| report::check(decode(input)));
}

#[test]
fn scope_seeds_satisfy_properties() {
    replay("scope", |input| scope::check(decode(input)));
}

#[test]
fn signed_seeds_satisfy_properties() {
    replay("signed", |input| signed::check(decode(input)));
}

#[test]
fn token_seeds_satisfy_properties() {
    replay("token", |input| token::check(decode(input)));
}

#[test]
fn every_fuzz_target_is_replayed() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz_targets");
    let mut names: Vec<_> = fs::read_dir(targets)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["feed", "key_set", "known_key", "proof", "report", "scope", "signed", "token"],
        "add a test above for a new target"
    );
}
