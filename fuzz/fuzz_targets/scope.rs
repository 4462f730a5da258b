//! Any two texts as scopes: parsing and covering agree with the contract's rules, spelled out naively.
#![no_main]

use agentwrit_fuzz_properties::scope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| scope::check(input));
