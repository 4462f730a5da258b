//! What operators see: log lines and metrics.

pub mod banner;
pub mod log;
pub mod metrics;
