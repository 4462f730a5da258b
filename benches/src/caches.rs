//! Two caches, raw, in the shape that the verifier needs: the whole token is the key, what it came to is the value, the
//! bound is a weight in bytes, and a lookup clones an `Arc`.
//!
//! - `moka`: `TinyLFU` admission; removes an entry when its token expires (`Expiry`).
//! - `quick_cache`: Clock-PRO; knows no time. The verifier judges `exp` on every call anyway, so an expired entry costs
//!   memory, never correctness, until its weight is wanted for another.
//!
//! Each with two ways to hash a token: all of it, or its last 32 bytes, which are signature. Whoever cannot sign cannot
//! choose what is in the cache, and two tokens that share a signature's tail still differ as keys.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What stands in for the verified claims.
#[derive(Debug)]
pub struct Verdict {
    /// How long the token lives on.
    pub lifetime: Duration,
    /// What the claims weigh.
    pub bytes: u32,
}

fn weight(token: &str, verdict: &Verdict) -> u32 {
    u32::try_from(token.len()).unwrap_or(u32::MAX).saturating_add(verdict.bytes)
}

/// `moka`, with `B` for its hasher.
pub type Moka<B> = moka::sync::Cache<Box<str>, Arc<Verdict>, B>;

/// A `moka` cache of that many bytes whose entries go when their token expires.
#[must_use]
pub fn moka<B: BuildHasher + Clone + Default + Send + Sync + 'static>(bytes: u64) -> Moka<B> {
    moka_bounded(bytes).expire_after(UntilExpiry).build_with_hasher(B::default())
}

/// A `moka` cache of that many bytes that knows no time, for comparison.
#[must_use]
pub fn moka_without_expiry<B: BuildHasher + Clone + Default + Send + Sync + 'static>(bytes: u64) -> Moka<B> {
    moka_bounded(bytes).build_with_hasher(B::default())
}

fn moka_bounded(bytes: u64) -> moka::sync::CacheBuilder<Box<str>, Arc<Verdict>, Moka<RandomState>> {
    Moka::builder().max_capacity(bytes).weigher(|token, verdict| weight(token, verdict))
}

struct UntilExpiry;

impl moka::Expiry<Box<str>, Arc<Verdict>> for UntilExpiry {
    fn expire_after_create(&self, _: &Box<str>, verdict: &Arc<Verdict>, _: Instant) -> Option<Duration> {
        Some(verdict.lifetime)
    }
}

/// `quick_cache`, with `B` for its hasher.
pub type Quick<B> = quick_cache::sync::Cache<Box<str>, Arc<Verdict>, ByBytes, B>;

/// A `quick_cache` cache of that many bytes, about `entries` of them.
#[must_use]
pub fn quick<B: BuildHasher + Clone + Default>(bytes: u64, entries: usize) -> Quick<B> {
    quick_cache::sync::Cache::with(
        entries,
        bytes,
        ByBytes,
        B::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    )
}

/// Weighs entries for `quick_cache`.
#[derive(Debug, Clone)]
pub struct ByBytes;

impl quick_cache::Weighter<Box<str>, Arc<Verdict>> for ByBytes {
    fn weight(&self, token: &Box<str>, verdict: &Arc<Verdict>) -> u64 {
        weight(token, verdict).into()
    }
}

/// Hashes the whole token.
pub type WholeToken = foldhash::fast::RandomState;

/// Hashes a token by its last 32 bytes.
#[derive(Debug, Clone, Default)]
pub struct BySignature(foldhash::fast::RandomState);

impl BuildHasher for BySignature {
    type Hasher = TailHasher<<foldhash::fast::RandomState as BuildHasher>::Hasher>;

    fn build_hasher(&self) -> Self::Hasher {
        TailHasher(self.0.build_hasher())
    }
}

/// Hands at most the last 32 bytes of what it is given to the hasher inside.
#[derive(Debug)]
pub struct TailHasher<H>(H);

impl<H: Hasher> Hasher for TailHasher<H> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes.last_chunk::<32>().map_or(bytes, |tail| tail));
    }

    // A `str` ends its hash with one byte that is the same for every token.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}
