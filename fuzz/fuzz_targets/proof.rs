//! Feeds arbitrary paths and signed proofs to `agentwrit_fuzz_properties::proof`.
#![no_main]

use agentwrit_fuzz_properties::proof;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _accepted = proof::check(input);
});
