//! Arbitrary signatures and messages: a key accepts the same signatures with its table of multiples and without it.

use std::sync::OnceLock;

use agentwrit_verify::{KeySet, PublicKey, TrustedKeys, issue::SigningKey};

/// A signer, and its key without a table.
fn signers() -> &'static [(SigningKey, PublicKey)] {
    static SIGNERS: OnceLock<Vec<(SigningKey, PublicKey)>> = OnceLock::new();
    SIGNERS.get_or_init(|| {
        let signer = |seed| {
            let signer = SigningKey::from_seed(&[seed; 32]).expect("the key of the seed has full order");
            let set = KeySet::new([signer.public_key().clone()]).expect("one key is a set");
            let plain = set.without_tables().iter().next().expect("one key").clone();
            // Builds the table, which clones of the key share.
            let _in_force = TrustedKeys::fixed(set);
            (signer, plain)
        };
        (1..=4).map(signer).collect()
    })
}

/// Checks one input: a byte that chooses key and kind, 64 bytes of a signature, and the message. The signature is taken as it
/// is, or is what the valid one is changed by. Returns whether the signature is accepted.
///
/// # Panics
///
/// When a property of the module is violated.
#[must_use]
pub fn check(input: &[u8]) -> bool {
    let Some(([kind], rest)) = input.split_first_chunk::<1>() else { return false };
    let Some((bytes, message)) = rest.split_first_chunk::<64>() else { return false };
    let (signer, plain) = &signers()[usize::from(kind % 4)];
    let mut signature = *bytes;
    if *kind < 128 {
        signature.iter_mut().zip(signer.sign(message)).for_each(|(byte, valid)| *byte ^= valid);
    }
    let accepted = plain.verifies(message, &signature);
    assert_eq!(signer.public_key().verifies(message, &signature), accepted);
    let is_unchanged = *kind < 128 && bytes.iter().all(|byte| *byte == 0);
    assert!(accepted || !is_unchanged, "the valid signature is rejected");
    accepted
}
