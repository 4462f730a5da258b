//! Any bytes as a key set: what is accepted is written and read back as the same keys.
#![no_main]

use agentwrit_verify::KeySet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    match KeySet::from_jwks(text) {
        Ok(keys) => {
            let written = keys.to_jwks();
            let again = KeySet::from_jwks(written.as_bytes()).expect("what we write we read");
            assert_eq!(keys, again);
        }
        Err(error) => assert!(error.to_string().len() < 1000),
    }
});
