//! Any bytes as a key set: what is accepted is written and read back as the same keys.
#![no_main]

use agentwrit_fuzz_properties::key_set;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| key_set::check(input));
