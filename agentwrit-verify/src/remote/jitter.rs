//! Chance, so that many servers don't act in step.

/// Gives numbers from 0 to 1.
pub(super) trait Jitter: Send + 'static {
    fn next(&mut self) -> f64;
}

impl<F: FnMut() -> f64 + Send + 'static> Jitter for F {
    fn next(&mut self) -> f64 {
        self()
    }
}

/// From the system's randomness.
pub(super) fn random() -> f64 {
    // Without randomness servers would only be more in step.
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}
