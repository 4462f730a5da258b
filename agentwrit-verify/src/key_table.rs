//! Multiples of a known key, by which its Ed25519 signatures are verified in about 0.6 of the time.
//!
//! 1. A signature `(R, S)` is valid if `[S]B - [k]A`, encoded, is `R` (RFC 8032 §5.1.7 without the cofactor, as
//!    `VerifyingKey::verify` checks it). `A` is one of few keys that hardly change, `B` never changes.
//! 2. A scalar is written in its width-7 non-adjacent form: odd digits from -63 to 63, one of eight bits on average has one.
//!    The table has `1, 3, … 63` times `[2^(16 i)]P` for each row `i`: a multiplication is one addition for each digit, some
//!    32, and 15 doublings, which the multiplications of both scalars share.
//! 3. The digits are the integers `k` and `S` exactly, which are below the order of the base point. So the result is the same
//!    for every point `P` of the curve, also with a component of small order. Additions are complete: no input is special.
//! 4. Digits choose what is computed: time depends on signature, message and key. All three are public.
//! 5. 80 KiB for each key, and once for `B`: the keys in force have at most [`MAX_TABLES`] of them.

use std::{fmt, iter, sync::LazyLock};

use curve25519_dalek::{
    constants::ED25519_BASEPOINT_POINT, edwards::EdwardsPoint, scalar::Scalar, traits::Identity as _,
};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha512};

/// Largest number of tables of the keys in force: 640 KiB. Other keys are verified without one.
pub(crate) const MAX_TABLES: usize = 8;

/// Width of the non-adjacent form: a digit is odd, and its magnitude is below `2^(WIDTH - 1)`.
const WIDTH: u32 = 7;
/// Odd multiples in a row, up to the largest digit.
const MULTIPLES: usize = 1 << (WIDTH - 2);
const COLUMN_BITS: u32 = 4;
/// Bits of a row.
const COLUMNS: usize = 1 << COLUMN_BITS;
/// Rows for 256 bits.
const ROWS: usize = 16;

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
        self.nonce_point(key, message, signature)
            .is_some_and(|point| point.compress().as_bytes() == signature.r_bytes())
    }

    /// Returns what `verifies` does for each message and signature. The results are encoded with one inversion for all of them;
    /// each is compared with its own `R`.
    pub(crate) fn verifies_each(&self, key: &VerifyingKey, signed: &[(&[u8], Signature)]) -> Vec<bool> {
        let points = signed.iter().map(|(message, signature)| self.nonce_point(key, message, signature));
        let points: Vec<Option<EdwardsPoint>> = points.collect();
        let found: Vec<EdwardsPoint> = points.iter().flatten().copied().collect();
        let mut encoded = EdwardsPoint::compress_batch_alloc(&found).into_iter();
        let encoded = points.iter().map(|point| point.and_then(|_| encoded.next()));
        encoded.zip(signed).map(|(r, (_, signature))| r.is_some_and(|r| r.as_bytes() == signature.r_bytes())).collect()
    }

    /// Returns `[S]B - [k]A`, whose encoding `R` has to be. `None` if `S` is not below the order.
    fn nonce_point(&self, key: &VerifyingKey, message: &[u8], signature: &Signature) -> Option<EdwardsPoint> {
        let s = canonical_s(signature)?;
        let hash = Sha512::new().chain_update(signature.r_bytes()).chain_update(key.as_bytes()).chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let (k, s) = (digits(k.as_bytes()), digits(s.as_bytes()));
        let mut sum = EdwardsPoint::identity();
        for (column, (k, s)) in k.iter().zip(&s).rev().enumerate() {
            if column > 0 {
                sum += sum;
            }
            self.negative.add_column(&mut sum, k);
            BASE_POINT.add_column(&mut sum, s);
        }
        Some(sum)
    }
}

/// Returns `S` if it is below the order of the base point (RFC 8032 §5.1.7): one signature has one encoding.
pub(crate) fn canonical_s(signature: &Signature) -> Option<Scalar> {
    Scalar::from_canonical_bytes(*signature.s_bytes()).into()
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").finish_non_exhaustive()
    }
}

/// Rows of a point: its odd multiples, shifted by 16 bits from row to row.
struct Multiples(Vec<[EdwardsPoint; MULTIPLES]>);

impl Multiples {
    fn of(point: EdwardsPoint) -> Self {
        let next = |base: &EdwardsPoint| (0..COLUMNS).fold(*base, |point, _| point + point);
        let row = |base: EdwardsPoint| {
            let twice = base + base;
            let mut multiple = base - twice;
            [(); MULTIPLES].map(|()| {
                multiple += twice;
                multiple
            })
        };
        Self(iter::successors(Some(point), |base| Some(next(base))).take(ROWS).map(row).collect())
    }

    /// Adds the multiples that the digits of a column select.
    fn add_column(&self, sum: &mut EdwardsPoint, column: &Column) {
        for (row, digit) in column.digits.iter().take(column.length) {
            let row = self.0.get(usize::from(*row));
            match row.and_then(|row| row.get(usize::from(digit.unsigned_abs() / 2))) {
                Some(multiple) if *digit > 0 => *sum += multiple,
                Some(multiple) => *sum -= multiple,
                None => {}
            }
        }
    }
}

/// Digits of a scalar for one bit of all rows, without zeros.
#[derive(Clone, Copy, Default)]
struct Column {
    /// Row and digit.
    digits: [(u8, i8); ROWS],
    length: usize,
}

impl Column {
    fn push(&mut self, row: u8, digit: i8) {
        if let Some(place) = self.digits.get_mut(self.length) {
            *place = (row, digit);
            self.length += 1;
        }
    }
}

/// Returns the non-adjacent form of a scalar below 2^253. The digit of the column `c` and the row `i` counts `2^(16 i + c)`.
fn digits(scalar: &[u8; 32]) -> [Column; COLUMNS] {
    let mut columns = [Column::default(); COLUMNS];
    let half = |bytes: &[u8]| bytes.try_into().map_or(0, u128::from_le_bytes);
    let (low, high) = scalar.split_at(16);
    let (mut low, mut high) = (half(low), half(high));
    let mut position = 0_u8;
    while (low, high) != (0, 0) {
        let [zeros, ..] = low.trailing_zeros().min(64).to_le_bytes();
        (low, high) = (low >> zeros | high.checked_shl(128 - u32::from(zeros)).unwrap_or(0), high >> zeros);
        position += zeros;
        if low & 1 == 0 {
            continue;
        }
        let [window, ..] = (low % (1 << WIDTH)).to_le_bytes();
        // Less a digit, the number is a multiple of 2^WIDTH.
        let digit = if window < 1 << (WIDTH - 1) {
            low -= u128::from(window);
            window.cast_signed()
        } else {
            let missing = (1 << WIDTH) - window;
            let carry;
            (low, carry) = low.overflowing_add(missing.into());
            high += u128::from(carry);
            -missing.cast_signed()
        };
        if let Some(column) = columns.get_mut(usize::from(position) % COLUMNS) {
            column.push(position >> COLUMN_BITS, digit);
        }
    }
    columns
}

#[cfg(test)]
pub(crate) mod tests;
