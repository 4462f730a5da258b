//! Schedule of the writes of the state file.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    RemoteError, Shared,
    state_file::{State, StateFile},
};
use crate::feed::Feed;

/// The least time between two writes.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Writing takes up at most one part in so many of the time.
const SHARE: u32 = 20;

/// Writes the state after each change, many changes at once.
pub(super) async fn save_on_change(
    shared: Arc<Shared>,
    feed: Option<Arc<Mutex<Feed>>>,
    file: StateFile,
    mut changes: watch::Receiver<u64>,
) {
    while changes.changed().await.is_ok() {
        // Collect further changes into the same write.
        sleep(LEAST_INTERVAL).await;
        changes.mark_unchanged();
        let begun = Instant::now();
        let (state, file) = ((Arc::clone(&shared), feed.clone()), file.clone());
        let saved = spawn_blocking(move || save(&state.0, state.1.as_deref(), &file)).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the state was not saved"),
            // The runtime is shutting down.
            Err(_) => return,
        }
        sleep(begun.elapsed().saturating_mul(SHARE)).await;
    }
}

/// Writes the state now, if there is any.
pub(super) fn save(shared: &Shared, feed: Option<&Mutex<Feed>>, file: &StateFile) -> Result<(), RemoteError> {
    // The feed first: a response drops keys before it changes the feed.
    let feed = feed.and_then(|feed| feed.lock().unwrap_or_else(PoisonError::into_inner).state());
    let (Some(keys), Some(age)) = (shared.keys.key_set(), shared.keys.age(shared.clock.monotonic())) else {
        return Ok(());
    };
    let keys_confirmed_at = shared.clock.now().saturating_sub(age);
    let removed = shared.keys.removed_keys();
    file.save(&State { keys: (*keys).clone(), keys_confirmed_at, removed, feed })?;
    shared.counters.states_saved.add();
    Ok(())
}
