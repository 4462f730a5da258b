//! Feeds arbitrary signed headers and payloads to `agentwrit_fuzz_properties::signed`.
#![no_main]

use agentwrit_fuzz_properties::signed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| signed::check(input));
