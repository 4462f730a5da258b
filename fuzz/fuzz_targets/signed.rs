//! Any header and payload, rightly signed: what is accepted reads the same to a plain JSON reader.
#![no_main]

use agentwrit_fuzz_properties::signed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| signed::check(input));
