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
