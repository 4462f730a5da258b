//! Feeds arbitrary key sets to `agentwrit_fuzz_properties::key_set`.
#![no_main]

use agentwrit_fuzz_properties::key_set;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| key_set::check(input));
