//! Arbitrary bytes as a key set: an accepted set is encoded and decoded to the same keys.

use agentwrit_verify::KeySet;

/// Checks one input.
///
/// # Panics
///
/// When a property of the module is violated.
pub fn check(text: &[u8]) {
    match KeySet::from_jwks(text) {
        Ok(keys) => {
            let written = keys.to_jwks();
            let again = KeySet::from_jwks(written.as_bytes()).expect("an encoded key set decodes");
            assert_eq!(keys, again);
        }
        Err(error) => assert!(error.to_string().len() < 1000),
    }
}
