//! Cache of verified tokens.
//!
//! The key is the whole token, so there are no digest collisions to consider. Only verified tokens are inserted, so an
//! unauthenticated client can neither fill the cache nor choose collisions. A hit saves parsing and signatures only;
//! the [verifier](crate::verifier) checks everything that changes with time at every call.

use std::{
    fmt,
    hash::{BuildHasher, Hasher},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use quick_cache::{Equivalent, Weighter, sync::Cache};

use crate::{
    claims::Claims,
    keys::{KeySet, PublicKey},
    proof::KnownSender,
    revocation::TokenRevocationKeys,
};

/// A verified token without its text.
#[derive(Clone, Debug)]
pub(crate) struct CachedToken {
    pub(crate) claims: Arc<Claims>,
    /// Without its table: a cached token outlives a key that is withdrawn.
    pub(crate) signed_by: PublicKey,
    /// True when the token has a `kid`.
    pub(crate) names_key: bool,
    /// The keys that signed its delegation chain.
    pub(crate) chain_signed_by: Box<[PublicKey]>,
    pub(crate) revocation_keys: OnceLock<TokenRevocationKeys>,
    /// Set by the first accepted proof for a sender-constrained token.
    pub(crate) sender: OnceLock<KnownSender>,
}

impl CachedToken {
    /// Returns a copy that shares no reference count with this one, except those of its keys.
    pub(crate) fn unshared(&self) -> Self {
        Self { claims: Arc::new(Claims::clone(&self.claims)), ..self.clone() }
    }

    /// Returns true when these keys would verify the token again.
    pub(crate) fn is_trusted_by(&self, keys: &KeySet) -> bool {
        let named = self.names_key.then(|| self.signed_by.id());
        keys.select(named).is_some_and(|key| key.as_bytes() == self.signed_by.as_bytes())
            && self.chain_signed_by.iter().all(|key| keys.contains(key))
    }
}

/// Hashes the last 32 bytes of a token, which are signature: who can't sign can't choose them for what gets in, and the
/// whole of it is compared all the same.
#[derive(Clone, Default)]
pub(crate) struct BySignature(foldhash::fast::RandomState);

impl BuildHasher for BySignature {
    type Hasher = TailHasher<<foldhash::fast::RandomState as BuildHasher>::Hasher>;

    fn build_hasher(&self) -> Self::Hasher {
        TailHasher(self.0.build_hasher())
    }
}

pub(crate) struct TailHasher<H>(H);

impl<H: Hasher> Hasher for TailHasher<H> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes.last_chunk::<32>().map_or(bytes, |tail| tail));
    }

    /// A `str` ends its hash with one byte that is the same for every token.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// The text of a token that is looked up.
#[derive(Hash)]
struct PresentedText<'a>(&'a str);

impl Equivalent<Box<str>> for PresentedText<'_> {
    /// Compares one byte of each cache line before the whole text. Those loads do not depend on each other, so that the
    /// processor fetches all lines of a text that it has not used for long at the same time; `==` waits for each few.
    fn equivalent(&self, cached: &Box<str>) -> bool {
        fn first_bytes(text: &str) -> impl Iterator<Item = &u8> {
            text.as_bytes().chunks(64).filter_map(<[u8]>::first)
        }
        let pairs = first_bytes(self.0).zip(first_bytes(cached));
        pairs.fold(0, |differ, (one, other)| differ | (one ^ other)) == 0 && *self.0 == **cached
    }
}

pub(crate) struct TokenCache {
    entries: Option<Cache<Box<str>, Arc<CachedToken>, ByLength, BySignature>>,
    doorkeeper: Doorkeeper,
}

/// Admits a token when it is seen for the second time: a token that is used once takes no memory and evicts no other.
///
/// Each slot holds four 16-bit fingerprints, the latest first. A fingerprint collision only admits a token one use
/// early.
struct Doorkeeper {
    hasher: BySignature,
    places: Box<[AtomicU64]>,
}

impl Doorkeeper {
    /// Allocates one slot of four fingerprints for each token that the cache can hold.
    fn new(tokens: usize) -> Self {
        let places = tokens.clamp(1, 1 << 20).next_power_of_two();
        Self { hasher: BySignature::default(), places: (0..places).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Returns true when the token was seen before, and records it.
    fn admits(&self, token: &str) -> bool {
        let hash = self.hasher.hash_one(token);
        let mask = self.places.len().saturating_sub(1) as u64;
        let Some(place) = usize::try_from(hash & mask).ok().and_then(|index| self.places.get(index)) else {
            return true;
        };
        // 0 marks an empty fingerprint.
        let fingerprint = (hash >> 48).max(1);
        let present = place.load(Ordering::Relaxed);
        let known = (0..4_u32).any(|slot| (present >> (slot * 16)) & 0xffff == fingerprint);
        if !known {
            // A race loses one of two fingerprints: that token gets in a little later.
            place.store((present << 16) | fingerprint, Ordering::Relaxed);
        }
        known
    }
}

impl TokenCache {
    /// A cache of at most `memory` bytes, roughly; 0 means no cache.
    pub(crate) fn new(memory: u64) -> Self {
        let typical = usize::try_from(memory / ByLength::TYPICAL).unwrap_or(usize::MAX);
        let entries = (memory > 0).then(|| {
            Cache::with(
                typical,
                memory,
                ByLength,
                BySignature::default(),
                quick_cache::sync::DefaultLifecycle::default(),
            )
        });
        Self { entries, doorkeeper: Doorkeeper::new(typical) }
    }

    pub(crate) fn get(&self, token: &str) -> Option<Arc<CachedToken>> {
        self.entries.as_ref()?.get(&PresentedText(token))
    }

    /// Keeps a token that was verified, from its second time on.
    pub(crate) fn insert(&self, token: &str, verified: Arc<CachedToken>) {
        if let Some(entries) = &self.entries
            && self.doorkeeper.admits(token)
        {
            entries.insert(token.into(), verified);
        }
    }

    pub(crate) fn contains(&self, token: &str) -> bool {
        self.entries.as_ref().is_some_and(|entries| entries.contains_key(&PresentedText(token)))
    }

    pub(crate) fn remove(&self, token: &str) {
        if let Some(entries) = &self.entries {
            entries.remove(token);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, Cache::len)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("entries", &self.len()).finish()
    }
}

/// Weighs an entry by what it holds: the token, claims of about twice its length, and what each text of a list costs beside
/// its characters.
#[derive(Clone)]
pub(crate) struct ByLength;

impl ByLength {
    /// Claims, revocation keys, counters and slots, without the token's text.
    const FIXED: u64 = 512;
    /// Key and header of the sender of a sender-constrained token.
    const SENDER: u64 = 512;
    /// A scope or an audience: its place in the list and its allocation.
    const TEXT: u64 = 56;
    /// A delegation record without its texts.
    const RECORD: u64 = 512;
    /// A token of three scopes.
    pub(crate) const TYPICAL: u64 = Self::FIXED.saturating_add(3 * 700).saturating_add(Self::TEXT.saturating_mul(3));

    pub(crate) fn weight_of(token: &str, verified: &CachedToken) -> u64 {
        let claims = verified.claims.as_claim_set();
        let sender = if claims.cnf.is_some() { Self::SENDER } else { 0 };
        let of_chain = claims.delegation_chain.iter().map(|record| record.scope.len());
        let texts = of_chain
            .chain([claims.scope.len(), claims.aud.len()])
            .fold(0_u64, |sum, texts| sum.saturating_add(texts as u64));
        let lists = texts.saturating_mul(Self::TEXT);
        let chain = (claims.delegation_chain.len() as u64).saturating_mul(Self::RECORD);
        let text = (token.len() as u64).saturating_mul(3);
        [sender, lists, chain, text].into_iter().fold(Self::FIXED, u64::saturating_add)
    }
}

impl Weighter<Box<str>, Arc<CachedToken>> for ByLength {
    fn weight(&self, token: &Box<str>, verified: &Arc<CachedToken>) -> u64 {
        Self::weight_of(token, verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_same_text_is_equivalent() {
        let text = |length| "abcdefg".chars().cycle().take(length).collect::<String>();
        for length in [0, 1, 63, 64, 65, 127, 128, 129, 834] {
            let cached: Box<str> = text(length).into();
            assert!(PresentedText(&text(length)).equivalent(&cached), "{length}");
            for other in [text(length + 1), text(length + 64), text(length.saturating_sub(1)) + "-"] {
                assert!(!PresentedText(&other).equivalent(&cached), "{length}, {}", other.len());
            }
            for at in 0..length {
                let mut other = text(length);
                other.replace_range(at..=at, "-");
                assert!(!PresentedText(&other).equivalent(&cached), "{length}, {at}");
            }
        }
    }

    #[test]
    fn text_has_hash_of_its_key() {
        let hasher = BySignature::default();
        for text in ["", "a", "header.claims.signature of more than 32 bytes, which is what is hashed"] {
            assert_eq!(hasher.hash_one(PresentedText(text)), hasher.hash_one(Box::<str>::from(text)), "{text}");
        }
    }
}
