//! Waiting for the broker's real clock, which is this machine's: until a stated second, never for a guessed time.

use std::time::Duration;

use agentwrit_verify::{Clock, SystemClock};

use crate::payload;

/// Waits until the wall clock shows this second, or a later one.
pub async fn until_second(second: u64) {
    while SystemClock.now().seconds() < second {
        let passed = SystemClock.now().elapsed_since_epoch();
        let left = Duration::from_secs(second).saturating_sub(passed);
        tokio::time::sleep(left.max(Duration::from_millis(1))).await;
    }
}

/// Waits until the next second has begun: marks kill what was issued in or before their own.
pub async fn next_second() {
    until_second(SystemClock.now().seconds() + 1).await;
}

/// Waits until a token has expired.
pub async fn until_expired(token: &str) {
    until_second(payload(token)["exp"].as_u64().unwrap()).await;
}
