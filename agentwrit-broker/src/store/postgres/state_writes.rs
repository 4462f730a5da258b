//! Writes of the state file by a thread of its own, and callers that wait for them for a limited time.

use std::{
    io,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::remembered::Remembered;

/// Longest wait for a write.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Shortest interval between two writes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Writes that are requested of the thread, and their results.
#[derive(Debug, Default)]
pub(super) struct StateWrites {
    state: Mutex<WriteState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WriteState {
    /// Contents to be written next.
    next: Option<Remembered>,
    at_once: bool,
    /// Number of requests.
    requested: u64,
    /// Number of requests whose contents were written, or could not be.
    done: u64,
    failed: bool,
    /// A caller has waited in vain since the last write: the present one is slow, or the thread has not begun it.
    late: bool,
    /// Time at which the present write began.
    writing_since: Option<Instant>,
    phase: Phase,
}

/// Phase of the thread that writes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// It ends once the latest contents are written.
    Closing,
    Ended,
}

impl StateWrites {
    /// Puts contents in the place of those that wait. Returns the number of the request.
    pub(super) fn request(&self, remembered: Remembered, at_once: bool) -> u64 {
        let state = &mut *self.state();
        state.next = Some(remembered);
        state.at_once |= at_once;
        state.requested = state.requested.saturating_add(1);
        self.changed.notify_all();
        state.requested
    }

    /// Waits until the contents of a request, or later ones, are written or cannot be in time.
    pub(super) fn wait(&self, number: u64, path: &Path) {
        let state = self.state();
        if state.is_slow() {
            return;
        }
        let is_awaited = |state: &mut WriteState| state.done < number && state.phase != Phase::Ended;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, is_awaited);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            state.late = true;
            drop(state);
            let path = path.display();
            tracing::error!(
                component = "store",
                %path,
                "the state file is not written in time: until its disk responds, this broker would not know a lost history, nor \
                 a key that was withdrawn in it, after a restart"
            );
        }
    }

    /// Returns true if the contents could not be written, or take long.
    pub(super) fn is_behind(&self) -> bool {
        self.state().is_behind()
    }

    /// Has the latest contents written. Returns true if the thread has ended in time.
    pub(super) fn close(&self) -> bool {
        self.state().close();
        self.changed.notify_all();
        let ended = self.changed.wait_timeout_while(self.state(), PATIENCE, |state| state.phase != Phase::Ended);
        ended.unwrap_or_else(PoisonError::into_inner).0.phase == Phase::Ended
    }

    /// Writes what is requested until the stop.
    pub(super) fn run(&self, path: &Path, write: impl Fn(&Remembered) -> io::Result<()>) {
        // Also if the thread panics.
        let _end = EndOfThread(self);
        let mut due = Instant::now();
        while let Some((remembered, number)) = self.next(due) {
            let written = write(&remembered);
            let state = &mut *self.state();
            if let (Err(error), false) = (&written, state.failed) {
                tracing::error!(component = "store", path = %path.display(), %error, "the state file cannot be written");
            }
            if state.is_behind() && written.is_ok() {
                tracing::info!(component = "store", path = %path.display(), "the state file is written again");
            }
            (state.failed, state.late, state.writing_since, state.done) = (written.is_err(), false, None, number);
            self.changed.notify_all();
            due = Instant::now() + INTERVAL;
        }
    }

    /// Waits until contents are to be written, with what is not urgent until `due`. Returns `None` once nothing is left.
    fn next(&self, due: Instant) -> Option<(Remembered, u64)> {
        let mut state = self.state();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let is_due = state.at_once || state.phase != Phase::Open || left.is_zero();
            if is_due && let Some(remembered) = state.next.take() {
                (state.at_once, state.writing_since) = (false, Some(Instant::now()));
                return Some((remembered, state.requested));
            }
            if state.phase != Phase::Open {
                return None;
            }
            state = if state.next.is_some() {
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, WriteState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteState {
    fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
    }

    /// Returns true if the present write has taken longer than a caller waits, or one has waited for it in vain.
    fn is_slow(&self) -> bool {
        self.late || self.writing_since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    fn is_behind(&self) -> bool {
        self.failed || self.is_slow()
    }
}

/// Wakes the callers that wait when the thread ends.
struct EndOfThread<'w>(&'w StateWrites);

impl Drop for EndOfThread<'_> {
    fn drop(&mut self) {
        self.0.state().phase = Phase::Ended;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agentwrit_verify::UnixTime;

    use super::{super::remembered::Seen, *};
    use crate::audit::{ChainHead, EventHash};

    #[test]
    fn request_that_waited_in_vain_is_behind_also_before_its_write_begins() {
        let event = ChainHead { sequence: 1, hash: EventHash::from_bytes([7; 32]) };
        let at = UnixTime::from_seconds(1_795_248_000);
        let seen = Seen { identity: "0123".to_owned(), epoch: "4567".to_owned(), event, at };
        let writes = StateWrites::default();
        let number = writes.request(Remembered { seen, withdrawn_keys: Arc::default() }, true);
        assert!(!writes.is_behind());
        writes.wait(number, Path::new("broker.state"));
        assert!(writes.is_behind(), "no thread has begun");
        writes.state().close();
        writes.run(Path::new("broker.state"), |_| Ok(()));
        assert!(!writes.is_behind());
    }
}
