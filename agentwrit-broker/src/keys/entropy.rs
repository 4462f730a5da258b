//! Source of random bytes, which is a parameter so that tests repeat.

use std::fmt;

/// Source of unpredictable bytes.
pub(crate) trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// Returns `N` random bytes.
pub(crate) fn random<const N: usize>(entropy: &(impl Entropy + ?Sized)) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// Random number generator of the operating system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsEntropy(());

impl OsEntropy {
    /// Reads once, so that a system without a generator fails the start instead of a request.
    ///
    /// # Errors
    ///
    /// [`EntropyError`] if the operating system has no generator.
    pub(crate) fn open() -> Result<Self, EntropyError> {
        getrandom::fill(&mut [0; 32]).map(|()| Self(())).map_err(|error| EntropyError { cause: error.to_string() })
    }
}

impl Entropy for OsEntropy {
    #[expect(
        clippy::expect_used,
        reason = "a generator that worked at the start does not fail later; if it does, no secret may be issued"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system's random number generator failed");
    }
}

/// Error of an operating system without random bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes: {cause}")]
pub struct EntropyError {
    /// Error of the operating system.
    pub(crate) cause: String,
}

/// Pseudo-random bytes that repeat for the same seed, for tests.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct SeededEntropy {
    seed: u64,
    position: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, position: std::sync::atomic::AtomicU64::new(0) }
    }
}

#[cfg(test)]
impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        use sha2::{Digest, Sha256};
        for chunk in bytes.chunks_mut(32) {
            let number = self.position.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let block =
                Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(number.to_be_bytes()).finalize();
            for (byte, position) in chunk.iter_mut().zip(block) {
                *byte = position;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_of_operating_system_returns_different_bytes() {
        let entropy = OsEntropy::open().unwrap();
        assert_ne!(random::<32>(&entropy), random::<32>(&entropy));
    }

    #[test]
    fn same_seed_repeats_and_another_seed_differs() {
        let draw = |seed| {
            let entropy = SeededEntropy::new(seed);
            (random::<16>(&entropy), random::<40>(&entropy))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let (first, second) = draw(7);
        assert_ne!(first[..], second[..16]);
    }
}
