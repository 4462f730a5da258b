//! Feeds arbitrary signatures and messages to `agentwrit_fuzz_properties::known_key`.
#![no_main]

use agentwrit_fuzz_properties::known_key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = known_key::check(input);
});
