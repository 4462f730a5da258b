//! Any text as a token: no panic, and nothing accepted that our key did not sign.
#![no_main]

use agentwrit_fuzz_properties::token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| token::check(input));
