//! Memory of accepted proofs, of fixed size (RFC 9449 §11.1).
//!
//! 1. A record is a keyed 128-bit hash of the key's thumbprint and the `jti`, and the proof's `iat`. Two proofs with equal
//!    hashes are taken for one.
//! 2. The hash selects a set of nine places. A record that finds its set full replaces the oldest one, and raises the
//!    set's watermark above the `iat` of that: a proof with an older `iat` could be one whose record was replaced, and is
//!    refused. Overload shortens the time for which a proof can be used; it never opens a replay.
//! 3. The table has no clock: a clock that is set forward or back changes nothing of the above.
//! 4. Sets are spread over locks that are held for one look-up.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, PoisonError},
};

use crate::thumbprint::Thumbprint;

const WAYS: usize = 9;
const SHARDS: usize = 64;

/// Memory of the proofs that were accepted, about 21 bytes for each, the same however many there are.
///
/// ```
/// use agentwrit_verify::{PublicKey, proof::{Replay, ReplayTable}};
///
/// # let key = agentwrit_verify::Thumbprint::from_bytes([7; 32]);
/// let table = ReplayTable::new(1 << 20);
/// assert_eq!(table.record(&key, "tag-1", 1_767_225_600), Replay::Fresh);
/// assert_eq!(table.record(&key, "tag-1", 1_767_225_600), Replay::Replayed);
/// ```
pub struct ReplayTable {
    shards: Box<[Mutex<Vec<Set>>]>,
    hasher: RandomState,
}

/// Result of [`ReplayTable::record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a proof is accepted for the first of these only")]
pub enum Replay {
    /// The proof is new, and recorded.
    Fresh,
    /// The proof is recorded already.
    Replayed,
    /// The proof is older than the records that the table still has.
    Superseded,
}

/// Times (the watermark first, then one for each place; a place is free when its time is below the watermark), and the
/// hashes: the first 32 bits of each apart, so that a look-up reads little memory. Arrays of numbers in a tuple: memory
/// that is not used yet is not touched.
type Set = ([u32; 1 + WAYS], [u32; WAYS], [[u32; 3]; WAYS]);

const EMPTY: Set = ([0; 1 + WAYS], [0; WAYS], [[0; 3]; WAYS]);

impl ReplayTable {
    /// Makes a table for at least `capacity` records.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).div_ceil(SHARDS).max(1).next_power_of_two();
        let shard = || Mutex::new(vec![EMPTY; sets]);
        let shards = (0..SHARDS).map(|_| shard()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// Records a proof, unless it was recorded before or its `iat` is older than what the table still tells apart.
    #[must_use = "only a fresh proof is accepted"]
    pub fn record(&self, key: &Thumbprint, jti: &str, issued_at: u64) -> Replay {
        // SipHash with a key of this table, of a thumbprint of fixed length and the `jti`; then of one byte more.
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.as_bytes());
        hasher.write(jti.as_bytes());
        let low = hasher.finish();
        hasher.write(&[1]);
        self.record_hash([low, hasher.finish()], issued_at)
    }

    /// Returns the memory that it takes when full, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.sets().saturating_mul(size_of::<Set>())
    }

    /// Returns the number of records that it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sets().saturating_mul(WAYS)
    }

    fn sets(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn record_hash(&self, hash: [u64; 2], issued_at: u64) -> Replay {
        let [low, high] = hash;
        // Times fit until the year 2106; a later one is recorded as the last moment. Zero marks a place that is free.
        let time = u32::try_from(issued_at).unwrap_or(u32::MAX).max(1);
        let Some(shard) = self.shards.get(index(low, self.shards.len())) else { return Replay::Superseded };
        let mut sets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let sets_of_shard = sets.len();
        match sets.get_mut(index(high, sets_of_shard)) {
            Some(set) => record_in(set, hash, time),
            None => Replay::Superseded,
        }
    }
}

/// Maps a hash to an index below `length`, which is a power of two.
fn index(hash: u64, length: usize) -> usize {
    usize::try_from(hash & (length as u64).saturating_sub(1)).unwrap_or_default()
}

fn record_in((times, starts, rests): &mut Set, hash: [u64; 2], time: u32) -> Replay {
    let [watermark, times @ ..] = times;
    let (start, rest) = split(hash);
    let lowest = (*watermark).max(1);
    if time < lowest {
        return Replay::Superseded;
    }
    let mut oldest: Option<(&mut u32, &mut u32, &mut [u32; 3])> = None;
    for ((place, known), others) in times.iter_mut().zip(starts).zip(rests) {
        if *known == start && *place >= lowest && *others == rest {
            return Replay::Replayed;
        }
        if oldest.as_ref().is_none_or(|(time, ..)| *place < **time) {
            oldest = Some((place, known, others));
        }
    }
    let Some((place, known, others)) = oldest else { return Replay::Superseded };
    if *place >= lowest {
        if time <= *place {
            return Replay::Superseded;
        }
        // The set is full: proofs as old as the one that is replaced are refused from now on.
        *watermark = place.saturating_add(1);
    }
    (*place, *known, *others) = (time, start, rest);
    Replay::Fresh
}

/// Returns the first 32 bits of a hash, and the others.
fn split([low, high]: [u64; 2]) -> (u32, [u32; 3]) {
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken")]
    let halves = |word: u64| (word as u32, (word >> 32) as u32);
    let ((first, second), (third, fourth)) = (halves(low), halves(high));
    // The lowest bits of both words select the shard and the set.
    (second, [first, third, fourth])
}

impl fmt::Debug for ReplayTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayTable").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;

    const KEY: Thumbprint = Thumbprint::from_bytes([7; 32]);

    #[test]
    fn tells_proofs_apart_by_key_and_jti() {
        let table = ReplayTable::new(1_000);
        let other = Thumbprint::from_bytes([8; 32]);
        assert_eq!(table.record(&KEY, "a", 100), Replay::Fresh);
        assert_eq!(table.record(&KEY, "a", 100), Replay::Replayed);
        assert_eq!(table.record(&KEY, "a", 101), Replay::Replayed, "the same `jti`");
        assert_eq!(table.record(&KEY, "b", 100), Replay::Fresh);
        assert_eq!(table.record(&other, "a", 100), Replay::Fresh);
    }

    #[test]
    fn takes_at_most_24_bytes_for_each_record() {
        for wanted in [0_usize, 1, 1_000, 100_000] {
            let table = ReplayTable::new(wanted);
            assert!(table.capacity() >= wanted && table.memory() <= 24 * table.capacity(), "{wanted}: {table:?}");
        }
    }

    #[test]
    fn refuses_proofs_as_old_as_one_that_was_replaced() {
        let mut set = EMPTY;
        let hash = |n: u32| [u64::from(n), 0];
        for n in 1..=9 {
            assert_eq!(record_in(&mut set, hash(n), 100 + n), Replay::Fresh);
        }
        assert_eq!(record_in(&mut set, hash(1), 101), Replay::Replayed);
        assert_eq!(record_in(&mut set, hash(10), 101), Replay::Superseded, "not newer than the oldest");
        assert_eq!(record_in(&mut set, hash(10), 200), Replay::Fresh);
        assert_eq!(record_in(&mut set, hash(1), 101), Replay::Superseded, "its record was replaced");
        assert_eq!(record_in(&mut set, hash(2), 102), Replay::Replayed, "the others are still recorded");
    }

    #[test]
    fn records_proofs_of_any_time() {
        let table = ReplayTable::new(1_000);
        for (jti, time) in [("a", 0), ("b", u64::from(u32::MAX)), ("c", u64::MAX)] {
            assert_eq!(table.record(&KEY, jti, time), Replay::Fresh);
            assert_eq!(table.record(&KEY, jti, time), Replay::Replayed);
        }
    }

    proptest! {
        /// A set of nine places against the definition: nothing is accepted twice, and nothing is refused that is newer
        /// than every record while the set has a free place.
        #[test]
        fn set_accepts_nothing_twice(proofs in prop::collection::vec((0_u64..40, 1_u32..30), 1..200)) {
            let mut set = EMPTY;
            let mut accepted = Vec::new();
            for (number, time) in proofs {
                // One proof has one time.
                let hash = [number, u64::from(time)];
                let outcome = record_in(&mut set, hash, time);
                let is_new = !accepted.contains(&hash);
                match outcome {
                    Replay::Fresh => prop_assert!(is_new),
                    Replay::Replayed => prop_assert!(!is_new),
                    Replay::Superseded => prop_assert!(accepted.len() >= WAYS),
                }
                if outcome == Replay::Fresh {
                    accepted.push(hash);
                }
            }
        }
    }

    /// Ten million proofs of 100 seconds into a table of 50,000, by four threads that present each proof three times: at
    /// once, at about the same time as another thread, and later.
    #[test]
    fn accepts_none_of_ten_million_proofs_twice_under_overload() {
        const PROOFS: u32 = 10_000_000;
        const BLOCK: u32 = 1_000;
        let table = ReplayTable::new(50_000);
        let accepted: Vec<AtomicU8> = (0..PROOFS).map(|_| AtomicU8::new(0)).collect();
        let (next, fresh) = (AtomicU64::new(0), AtomicU64::new(0));
        let present = |number: u32| {
            // As distinct as hashes of distinct texts, and cheaper in a build without optimisation.
            let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let hash = [mixed ^ (mixed >> 29), mixed.rotate_left(31) ^ u64::from(number)];
            if table.record_hash(hash, u64::from(1_000 + number / (PROOFS / 100))) == Replay::Fresh {
                accepted[number as usize].fetch_add(1, Ordering::Relaxed);
                fresh.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    loop {
                        // Two threads work on each block.
                        let block = u32::try_from(next.fetch_add(1, Ordering::Relaxed) / 2).unwrap();
                        let Some(start) = block.checked_mul(BLOCK).filter(|start| *start < PROOFS) else { break };
                        for number in start..start + BLOCK {
                            present(number);
                            if number % 8 == 0 {
                                present(number);
                                present(number.saturating_sub(BLOCK / 2));
                                present(number.saturating_sub(40 * BLOCK));
                            }
                        }
                    }
                });
            }
        });
        assert!(accepted.iter().all(|count| count.load(Ordering::Relaxed) <= 1));
        // The window is shorter, not closed: those of the first moments of each second find place.
        let fresh = fresh.into_inner();
        assert!((50_000..u64::from(PROOFS)).contains(&fresh), "{fresh} were accepted");
    }
}
