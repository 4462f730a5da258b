//! Feeds arbitrary responses of the revocation feed to `agentwrit_fuzz_properties::feed`.
#![no_main]

use agentwrit_fuzz_properties::feed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| feed::check(input));
