//! Any bytes as a key set: what is accepted is written and read back as the same keys.

use agentwrit_verify::KeySet;

/// Checks one input.
///
/// # Panics
///
/// A property of the module does not hold.
pub fn check(text: &[u8]) {
    match KeySet::from_jwks(text) {
        Ok(keys) => {
            let written = keys.to_jwks();
            let again = KeySet::from_jwks(written.as_bytes()).expect("what we write we read");
            assert_eq!(keys, again);
        }
        Err(error) => assert!(error.to_string().len() < 1000),
    }
}
