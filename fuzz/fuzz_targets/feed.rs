//! Any answer of the revocation feed, forged or rightly signed: what is refused changes no entry, time and log never go
//! back, and what is accepted is in the list.
#![no_main]

use agentwrit_fuzz_properties::feed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| feed::check(input));
