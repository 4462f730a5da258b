//! Feeds arbitrary tokens to `agentwrit_fuzz_properties::token`.
#![no_main]

use agentwrit_fuzz_properties::token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| token::check(input));
