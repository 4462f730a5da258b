//! Multiples of a known key, by which its Ed25519 signatures are verified in about 0.6 of the time.
//!
//! 1. A signature `(R, S)` is valid if `[S]B - [k]A`, encoded, is `R` (RFC 8032 §5.1.7 without the cofactor, as
//!    `VerifyingKey::verify` checks it). `A` is one of few keys that hardly change, `B` never changes.
//! 2. A scalar is written in 37 signed digits of 7 bits, `-63` to `64`, in rows of four. The table has `1` to `64` times
//!    `[2^(28 i)]P` for each row `i`: a multiplication is one addition for each digit that is not zero, and 21 doublings.
//! 3. The digits are the integers `k` and `S` exactly, which are below the order of the base point. So the result is the same
//!    for every point `P` of the curve, also with a component of small order. Additions are complete: no input is special.
//! 4. Digits choose what is computed: time depends on signature, message and key. All three are public.
//! 5. 100 KiB for each key, and once for `B`: the keys in force have at most [`MAX_TABLES`] of them.

use std::{fmt, iter, sync::LazyLock};

use curve25519_dalek::{
    constants::ED25519_BASEPOINT_POINT, edwards::EdwardsPoint, scalar::Scalar, traits::Identity as _,
};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha512};

/// Largest number of tables of the keys in force: 800 KiB. Other keys are verified without one.
pub(crate) const MAX_TABLES: usize = 8;

/// Bits of a digit.
const WINDOW: u32 = 7;
/// Multiples in a row: the largest digit.
const MULTIPLES: usize = 64;
/// Digits of a row.
const COLUMNS: usize = 4;
const ROWS: usize = 10;

static BASE_POINT: LazyLock<Multiples> = LazyLock::new(|| Multiples::of(ED25519_BASEPOINT_POINT));

/// Table of a key.
pub(crate) struct KeyTable {
    /// Of the negative of the key.
    negative: Multiples,
}

impl KeyTable {
    pub(crate) fn new(key: &VerifyingKey) -> Self {
        #[cfg(test)]
        tests::report_new_table();
        Self { negative: Multiples::of(-key.to_edwards()) }
    }

    /// Returns what `key.verify(message, signature)` does, for the key that the table was made of.
    pub(crate) fn verifies(&self, key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
        let canonical: Option<Scalar> = Scalar::from_canonical_bytes(*signature.s_bytes()).into();
        let Some(s) = canonical else { return false };
        let hash = Sha512::new().chain_update(signature.r_bytes()).chain_update(key.as_bytes()).chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let (k, s) = (digits(k.as_bytes()), digits(s.as_bytes()));
        let mut sum = EdwardsPoint::identity();
        for column in (0..COLUMNS).rev() {
            if column + 1 < COLUMNS {
                sum = shifted(sum, WINDOW);
            }
            self.negative.add_column(&mut sum, &k, column);
            BASE_POINT.add_column(&mut sum, &s, column);
        }
        sum.compress().as_bytes() == signature.r_bytes()
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").finish_non_exhaustive()
    }
}

/// Rows of a point: `1` to `64` times the point, shifted by 28 bits from row to row.
struct Multiples(Vec<[EdwardsPoint; MULTIPLES]>);

impl Multiples {
    fn of(point: EdwardsPoint) -> Self {
        let shift = WINDOW * 4;
        let bases = iter::successors(Some(point), |base| Some(shifted(*base, shift)));
        let row = |base: EdwardsPoint| {
            let mut multiple = EdwardsPoint::identity();
            [(); MULTIPLES].map(|()| {
                multiple += base;
                multiple
            })
        };
        Self(bases.take(ROWS).map(row).collect())
    }

    /// Adds the multiples that the digits of a column select. The digit zero selects none.
    fn add_column(&self, sum: &mut EdwardsPoint, digits: &[i8], column: usize) {
        for (row, digit) in self.0.iter().zip(digits.iter().skip(column).step_by(COLUMNS)) {
            let multiple = row.get(usize::from(digit.unsigned_abs()).wrapping_sub(1));
            match multiple {
                Some(multiple) if *digit > 0 => *sum += multiple,
                Some(multiple) => *sum -= multiple,
                None => {}
            }
        }
    }
}

/// Returns `[2^bits]P`.
fn shifted(mut point: EdwardsPoint, bits: u32) -> EdwardsPoint {
    for _ in 0..bits / 3 {
        point = point.mul_by_cofactor();
    }
    for _ in 0..bits % 3 {
        point += point;
    }
    point
}

/// Returns the digits of a scalar below 2^253, the lowest first.
fn digits(scalar: &[u8; 32]) -> [i8; ROWS * COLUMNS] {
    let mut bytes = scalar.iter().copied();
    let (mut bits, mut held, mut carry) = (0_u32, 0, 0);
    [(); ROWS * COLUMNS].map(|()| {
        if held < WINDOW {
            bits |= u32::from(bytes.next().unwrap_or(0)) << held;
            held += 8;
        }
        let [low, ..] = (bits & 0x7f).to_le_bytes();
        (bits, held) = (bits >> WINDOW, held - WINDOW);
        let value = low + carry;
        carry = u8::from(value > 64);
        value.wrapping_sub(carry << WINDOW).cast_signed()
    })
}

#[cfg(test)]
pub(crate) mod tests;
