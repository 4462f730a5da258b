//! Memory of accepted proofs, of fixed size (RFC 9449 §11.1).
//!
//! 1. A record is a keyed 64-bit hash of the key's thumbprint and the `jti`, and the proof's `iat`. Two proofs with equal
//!    hashes are taken for one: with a million records, one new proof in 10^13 is refused for it.
//! 2. The hash selects a set of five places. A record that finds its set full replaces the oldest one, and raises the
//!    set's watermark above the `iat` of that: a proof with an older `iat` could be one whose record was replaced, and is
//!    refused. Overload shortens the time for which a proof can be used; it never opens a replay.
//! 3. The table has no clock: a clock that is set forward or back changes nothing of the above.
//! 4. A set is one cache line: in a table that is larger than the caches, one access to memory decides. Sets are spread over
//!    locks that are held for one look-up.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, PoisonError},
};

use crate::thumbprint::Thumbprint;

const WAYS: usize = 5;
const SHARDS: usize = 64;

/// Words of a set: the watermark, then the times of its places (one is free when its time is below the watermark), then
/// both halves of their hashes.
const WORDS: usize = 1 + 3 * WAYS;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Memory of the proofs that were accepted, about 13 bytes for each, the same however many there are.
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
    shards: Box<[Mutex<Sets>]>,
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

impl ReplayTable {
    /// Makes a table for at least `capacity` records.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).div_ceil(SHARDS).max(1).next_power_of_two();
        let shards = (0..SHARDS).map(|_| Mutex::new(Sets::new(sets))).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// Records a proof, unless it was recorded before or its `iat` is older than what the table still tells apart.
    #[must_use = "only a fresh proof is accepted"]
    pub fn record(&self, key: &Thumbprint, jti: &str, issued_at: u64) -> Replay {
        // SipHash with a key of this table, of a thumbprint of fixed length and the `jti`.
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.as_bytes());
        hasher.write(jti.as_bytes());
        self.record_hash(hasher.finish(), issued_at)
    }

    /// Returns the memory that it takes when full, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.sum(|sets| sets.words.len().saturating_mul(size_of::<u32>()))
    }

    /// Returns the number of records that it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sum(Sets::len).saturating_mul(WAYS)
    }

    fn sum(&self, of: impl Fn(&Sets) -> usize) -> usize {
        self.shards.iter().map(|shard| of(&shard.lock().unwrap_or_else(PoisonError::into_inner))).sum()
    }

    fn record_hash(&self, hash: u64, issued_at: u64) -> Replay {
        // Times fit until the year 2106; a later one is recorded as the last moment. Zero marks a place that is free.
        let time = u32::try_from(issued_at).unwrap_or(u32::MAX).max(1);
        let Some(shard) = self.shards.get(index(hash, self.shards.len())) else { return Replay::Superseded };
        let mut sets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match sets.select(hash.rotate_right(SHARDS.trailing_zeros())) {
            Some(set) => record_in(set, split(hash), time),
            None => Replay::Superseded,
        }
    }
}

/// Sets behind one lock.
struct Sets {
    /// Zeros at first: memory that is not used yet is not touched. It has room for moving the first set to the start of
    /// a cache line.
    words: Vec<u32>,
    /// Number of words before the first set.
    offset: usize,
}

impl Sets {
    fn new(sets: usize) -> Self {
        let line = LINE / size_of::<u32>();
        let words = vec![0; sets.saturating_mul(WORDS).saturating_add(line).saturating_sub(1)];
        // An allocator that promises less than a line is met by sets that lie on two of them, no more.
        let offset = Some(words.as_ptr().align_offset(LINE)).filter(|offset| *offset < line).unwrap_or_default();
        Self { words, offset }
    }

    fn len(&self) -> usize {
        self.words.get(self.offset..).map_or(0, |words| words.as_chunks::<WORDS>().0.len())
    }

    /// Returns the set of a hash.
    fn select(&mut self, hash: u64) -> Option<&mut [u32; WORDS]> {
        let (sets, _) = self.words.get_mut(self.offset..)?.as_chunks_mut::<WORDS>();
        sets.get_mut(index(hash, sets.len()))
    }
}

/// Maps a hash to an index below `length`, which is a power of two.
fn index(hash: u64, length: usize) -> usize {
    usize::try_from(hash & (length as u64).saturating_sub(1)).unwrap_or_default()
}

/// Returns the halves of a hash.
#[expect(clippy::cast_possible_truncation, reason = "each half is taken")]
const fn split(hash: u64) -> [u32; 2] {
    [hash as u32, (hash >> 32) as u32]
}

fn record_in(set: &mut [u32; WORDS], hash: [u32; 2], time: u32) -> Replay {
    let [watermark, places @ ..] = set;
    let (arrays, _) = places.as_chunks_mut::<WAYS>();
    let [times, lows, highs] = arrays else { return Replay::Superseded };
    let lowest = (*watermark).max(1);
    if time < lowest {
        return Replay::Superseded;
    }
    // No branch depends on a single place: which one is the oldest cannot be predicted.
    let (mut is_recorded, mut oldest, mut oldest_time) = (false, 0, u32::MAX);
    for (place, ((recorded_at, low), high)) in times.iter().zip(&*lows).zip(&*highs).enumerate() {
        let difference = (*low ^ hash[0]) | (*high ^ hash[1]);
        is_recorded |= difference == 0 && *recorded_at >= lowest;
        let is_older = *recorded_at < oldest_time;
        oldest = if is_older { place } else { oldest };
        oldest_time = if is_older { *recorded_at } else { oldest_time };
    }
    if is_recorded {
        return Replay::Replayed;
    }
    if oldest_time >= lowest {
        if time <= oldest_time {
            return Replay::Superseded;
        }
        // The set is full: proofs as old as the one that is replaced are refused from now on.
        *watermark = oldest_time.saturating_add(1);
    }
    if let (Some(recorded_at), Some(low), Some(high)) =
        (times.get_mut(oldest), lows.get_mut(oldest), highs.get_mut(oldest))
    {
        (*recorded_at, *low, *high) = (time, hash[0], hash[1]);
        return Replay::Fresh;
    }
    Replay::Superseded
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
    fn takes_at_most_16_bytes_for_each_record() {
        for wanted in [0_usize, 1, 1_000, 100_000, 1 << 20] {
            let table = ReplayTable::new(wanted);
            let limit = if wanted > 1_000 { 16 } else { 25 } * table.capacity();
            assert!(table.capacity() >= wanted && table.memory() <= limit, "{wanted}: {table:?}");
        }
    }

    #[test]
    fn sets_lie_on_cache_lines_and_are_as_many_as_asked_for() {
        for wanted in [1, 2, 64, 4_096] {
            let mut sets = Sets::new(wanted);
            assert_eq!(sets.len(), wanted);
            let last = wanted as u64 - 1;
            assert_eq!(sets.select(last).unwrap().as_ptr().align_offset(LINE), 0, "{wanted}");
        }
    }

    #[test]
    fn refuses_proofs_as_old_as_one_that_was_replaced() {
        let mut set = [0; WORDS];
        let hash = |n: u32| [n, 0];
        for n in 1..=5 {
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
        /// A set against the definition: nothing is accepted twice, and nothing is refused that is newer than every record
        /// while the set has a free place.
        #[test]
        fn set_accepts_nothing_twice(proofs in prop::collection::vec((0_u32..40, 1_u32..30), 1..200)) {
            let mut set = [0; WORDS];
            let mut accepted = Vec::new();
            for (number, time) in proofs {
                // One proof has one time.
                let hash = [number, time];
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
            let hash = mixed ^ (mixed >> 29);
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
