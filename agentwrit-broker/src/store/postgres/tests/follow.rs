//! Readings of the log on behalf of callers.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{lost_history::follow_log, *};

/// Shortest interval between two readings.
const LEAST_INTERVAL: Duration = Duration::from_millis(2);

async fn confirm_times(store: Store, times: u32) -> Duration {
    let begun = Instant::now();
    for _ in 0..times {
        store.confirm().await.unwrap();
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_begin_at_least_2_ms_apart_and_callers_share_them() {
    let fixture = Fixture::new();
    follow_log(&fixture.store).await;
    // Each one needs a reading that begins after the one before was delivered.
    let alone = confirm_times(fixture.store.clone(), 200).await;
    assert!(alone >= LEAST_INTERVAL * 199, "{alone:?}");
    let begun = Instant::now();
    let callers: JoinSet<Duration> = (0..100).map(|_| confirm_times(fixture.store.clone(), 50)).collect();
    callers.join_all().await;
    // A reading for each caller would take 10 seconds.
    let together = begun.elapsed();
    assert!((LEAST_INTERVAL * 49..LEAST_INTERVAL * 4900).contains(&together), "{together:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_after_pause_begins_at_once() {
    let fixture = Fixture::new();
    follow_log(&fixture.store).await;
    // Another reading may begin in the pause, or the machine be slow: one of many must be quick.
    let mut quick = false;
    for _ in 0..100 {
        sleep(LEAST_INTERVAL * 4).await;
        quick |= confirm_times(fixture.store.clone(), 1).await < LEAST_INTERVAL;
    }
    assert!(quick);
}
