//! Two caches in the form that the verifier needs: the whole token is the key, the claims are the value, the bound is a
//! weight in bytes, and a lookup clones an `Arc`.
//!
//! - `moka`: `TinyLFU` admission; removes an entry when its token expires (`Expiry`).
//! - `quick_cache`: Clock-PRO, without expiry. The verifier checks `exp` on every call anyway, so an expired entry
//!   costs memory, never correctness, until its weight is needed for another.
//!
//! Each with two hashes of a token: of all bytes, or of the last 32, which belong to the signature. Only the issuer can
//! choose the keys in the cache, and two tokens with the same last bytes still differ as keys.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Stand-in for verified claims.
#[derive(Debug)]
pub struct Verdict {
    /// Remaining lifetime of the token.
    pub lifetime: Duration,
    /// Weight of the claims.
    pub bytes: u32,
}

fn weight(token: &str, verdict: &Verdict) -> u32 {
    u32::try_from(token.len()).unwrap_or(u32::MAX).saturating_add(verdict.bytes)
}

/// `moka`, with `B` for its hasher.
pub type Moka<B> = moka::sync::Cache<Box<str>, Arc<Verdict>, B>;

/// Creates a `moka` cache of this many bytes that removes entries when their token expires.
#[must_use]
pub fn moka<B: BuildHasher + Clone + Default + Send + Sync + 'static>(bytes: u64) -> Moka<B> {
    moka_bounded(bytes).expire_after(UntilExpiry).build_with_hasher(B::default())
}

/// Creates a `moka` cache of this many bytes without expiry, for comparison.
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

/// Creates a `quick_cache` cache of this many bytes for about `entries` entries.
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

/// Passes at most the last 32 bytes of its input to the inner hasher.
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
