//! Where unpredictable bytes come from: a parameter, so that tests repeat.

use std::fmt;

/// A source of bytes that nobody can predict.
pub(crate) trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// `N` fresh bytes.
pub(crate) fn random<const N: usize>(entropy: &(impl Entropy + ?Sized)) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsEntropy(());

impl OsEntropy {
    /// Draws once, so that a system without a generator stops the start instead of a request.
    ///
    /// # Errors
    ///
    /// [`EntropyError`] when the operating system has no generator for us.
    pub(crate) fn open() -> Result<Self, EntropyError> {
        getrandom::fill(&mut [0; 32]).map(|()| Self(())).map_err(|error| EntropyError { cause: error.to_string() })
    }
}

impl Entropy for OsEntropy {
    #[expect(
        clippy::expect_used,
        reason = "a generator that worked at the start does not fail later; if it does, no secret may be handed out"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system's random number generator failed");
    }
}

/// The operating system gives no random bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes: {cause}")]
pub struct EntropyError {
    /// What the operating system said.
    pub(crate) cause: String,
}

/// Bytes that look random and repeat for the same seed. Tests only.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct SeededEntropy {
    seed: u64,
    drawn: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: std::sync::atomic::AtomicU64::new(0) }
    }
}

#[cfg(test)]
impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        use sha2::{Digest, Sha256};
        for chunk in bytes.chunks_mut(32) {
            let number = self.drawn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let block =
                Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(number.to_be_bytes()).finalize();
            for (byte, drawn) in chunk.iter_mut().zip(block) {
                *byte = drawn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_system_never_repeats_itself() {
        let entropy = OsEntropy::open().unwrap();
        assert_ne!(random::<32>(&entropy), random::<32>(&entropy));
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
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
