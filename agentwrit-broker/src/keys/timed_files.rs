//! Operations on key files with a time limit: the caller may be the writer of the store, behind which every commit waits.
//!
//! 1. Each operation runs in a thread of its own. If its disk does not respond, the caller gets [`KeyFileError::Slow`] after
//!    [`PATIENCE`], and the operation goes on.
//! 2. While one takes longer, others fail at once: neither callers nor threads queue behind it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{KeyFileError, key_files::KeyFiles};

/// Longest wait for an operation.
const PATIENCE: Duration = Duration::from_secs(2);

/// Key files, and the operations on them that run.
#[derive(Debug)]
pub(super) struct TimedFiles {
    files: KeyFiles,
    running: Arc<Running>,
}

/// Times at which operations began.
#[derive(Debug, Default)]
struct Running(Mutex<Vec<Instant>>);

impl TimedFiles {
    pub(super) fn new(files: KeyFiles) -> Self {
        Self { files, running: Arc::default() }
    }

    pub(super) fn path(&self) -> &Path {
        self.files.path()
    }

    /// Runs an operation. After an error, it may still be done later.
    ///
    /// # Errors
    ///
    /// That of the operation, or [`KeyFileError::Slow`].
    pub(super) fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&KeyFiles) -> Result<T, KeyFileError> + Send + 'static,
    ) -> Result<T, KeyFileError> {
        let slow = || KeyFileError::Slow { path: self.path().to_owned() };
        let ended = self.running.begin().ok_or_else(slow)?;
        let (sender, result) = sync_channel(1);
        let files = self.files.clone();
        let run = move || {
            let result = operation(&files);
            // Before the caller goes on.
            drop(ended);
            // An error means that the caller waits no more.
            sender.send(result).unwrap_or_default();
        };
        thread::Builder::new()
            .name("agentwrit-keys".to_owned())
            .spawn(run)
            .map_err(|error| KeyFileError::Unreadable { path: self.path().to_owned(), cause: error.to_string() })?;
        match result.recv_timeout(PATIENCE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(slow()),
            Err(RecvTimeoutError::Disconnected) => {
                let cause = "the thread that reads it panicked".to_owned();
                Err(KeyFileError::Unreadable { path: self.path().to_owned(), cause })
            }
        }
    }
}

impl Running {
    /// Notes an operation until the returned guard is dropped. Returns `None` while another one is slow.
    fn begin(self: &Arc<Self>) -> Option<RunningOperation> {
        let mut begun = self.begun();
        if begun.iter().any(|at| at.elapsed() >= PATIENCE) {
            return None;
        }
        let at = Instant::now();
        begun.push(at);
        Some(RunningOperation { at, running: Arc::clone(self) })
    }

    fn begun(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An operation that runs.
struct RunningOperation {
    at: Instant,
    running: Arc<Running>,
}

impl Drop for RunningOperation {
    fn drop(&mut self) {
        let mut begun = self.running.begun();
        // Of two that began at one time it does not matter which is taken.
        if let Some(index) = begun.iter().position(|at| *at == self.at) {
            begun.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn fails_in_time_while_operation_does_not_end_and_works_again_afterwards() {
        let files = TimedFiles::new(KeyFiles::at(Path::new("signing.key")));
        let slow = || KeyFileError::Slow { path: files.path().to_owned() };
        assert_eq!(files.run(|_| Ok(7)), Ok(7));
        let ((release, hanging), begun) = (channel::<()>(), Instant::now());
        let operation = move |_: &KeyFiles| {
            hanging.recv().unwrap_or_default();
            Ok(())
        };
        assert_eq!(files.run(operation), Err(slow()));
        let waited = begun.elapsed();
        for _ in 0..1000 {
            assert_eq!(files.run(|_| Ok(7)), Err(slow()));
        }
        assert!(begun.elapsed() < waited + PATIENCE, "no operation waits behind another");
        release.send(()).unwrap();
        while files.run(|_| Ok(7)) != Ok(7) {
            thread::yield_now();
        }
        assert!(files.running.begun().is_empty());
    }
}
