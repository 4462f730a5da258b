//! Arbitrary signatures and messages: a key accepts the same signatures with its table of multiples and without it.

use std::sync::OnceLock;

use agentwrit_verify::{KeySet, PublicKey, TrustedKeys, issue::SigningKey};

/// A signer, and its key.
struct Signer {
    private: SigningKey,
    with_table: PublicKey,
    without_table: PublicKey,
}

fn signers() -> &'static [Signer] {
    static SIGNERS: OnceLock<Vec<Signer>> = OnceLock::new();
    SIGNERS.get_or_init(|| {
        let signer = |seed| {
            let private = SigningKey::from_seed(&[seed; 32]).expect("the key of the seed has full order");
            let set = KeySet::new([private.public_key().clone()]).expect("one key is a set");
            let plain = set.without_tables();
            let in_force = TrustedKeys::fixed(set).key_set().expect("a set is in force");
            assert_eq!((in_force.tables(), plain.tables()), (1, 0), "each way of verifying is compared");
            let key = |set: &KeySet| set.iter().next().expect("one key").clone();
            Signer { private, with_table: key(&in_force), without_table: key(&plain) }
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
    let Signer { private, with_table, without_table } = &signers()[usize::from(kind % 4)];
    let mut signature = *bytes;
    if *kind < 128 {
        signature.iter_mut().zip(private.sign(message)).for_each(|(byte, valid)| *byte ^= valid);
    }
    let accepted = without_table.verifies(message, &signature);
    assert_eq!(with_table.verifies(message, &signature), accepted);
    let is_unchanged = *kind < 128 && bytes.iter().all(|byte| *byte == 0);
    assert!(accepted || !is_unchanged, "the valid signature is rejected");
    accepted
}
