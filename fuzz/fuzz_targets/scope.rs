//! Feeds arbitrary scopes to `agentwrit_fuzz_properties::scope`.
#![no_main]

use agentwrit_fuzz_properties::scope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| scope::check(input));
