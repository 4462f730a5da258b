//! Every kept fuzz input, without a fuzzer: a property that was broken once stays checked in every test run.

use std::{fs, path::Path};

use agentwrit_fuzz_properties::{feed, key_set, scope, signed, token};
use arbitrary::{Arbitrary, Unstructured};

fn replay<'a, T: Arbitrary<'a>>(check: impl Fn(T), input: &'a [u8]) {
    check(T::arbitrary_take_rest(Unstructured::new(input)).unwrap());
}

/// The inputs of a target: its seeds, and what fuzzing found and was kept.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let inputs: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty(), "no seeds in {}", directory.display());
    inputs
}

#[test]
fn feed_seeds_hold_the_properties() {
    inputs("feed").iter().for_each(|input| replay(feed::check, input));
}

#[test]
fn key_set_seeds_hold_the_properties() {
    inputs("key_set").iter().for_each(|input| replay(key_set::check, input));
}

#[test]
fn scope_seeds_hold_the_properties() {
    inputs("scope").iter().for_each(|input| replay(scope::check, input));
}

#[test]
fn signed_seeds_hold_the_properties() {
    inputs("signed").iter().for_each(|input| replay(signed::check, input));
}

#[test]
fn token_seeds_hold_the_properties() {
    inputs("token").iter().for_each(|input| replay(token::check, input));
}

#[test]
fn every_fuzz_target_is_replayed() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz_targets");
    let mut names: Vec<_> = fs::read_dir(targets)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["feed", "key_set", "scope", "signed", "token"], "add a test above for a new target");
}
