//! Feeds arbitrary reports of verifiers to `agentwrit_fuzz_properties::report`.
#![no_main]

use agentwrit_fuzz_properties::report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| report::check(input));
