use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use tempfile::TempDir;

use super::*;
use crate::keys::entropy::SeededEntropy;

/// Bytes that come when the test permits it, as of a file on a slow disk.
#[derive(Debug)]
struct SlowEntropy {
    begun: SyncSender<()>,
    go_on: Mutex<Receiver<()>>,
    bytes: SeededEntropy,
}

impl Entropy for SlowEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.begun.try_send(()).unwrap_or_default();
        self.go_on.lock().unwrap().recv().unwrap_or_default();
        self.bytes.fill(bytes);
    }
}

#[test]
fn unsaved_keys_are_told_while_file_of_another_key_is_made() {
    let directory = TempDir::new().unwrap();
    let ((begun, makes_file), (permit, go_on)) = (sync_channel(1), sync_channel(1));
    let entropy = Arc::new(SlowEntropy { begun, go_on: Mutex::new(go_on), bytes: SeededEntropy::new(1) });
    let custody = Custody::of_files(KeyFiles::at(&directory.path().join("signing.key")), entropy);
    thread::scope(|scope| {
        let made = scope.spawn(|| custody.new_key(&[], UnixTime::from_seconds(1)));
        makes_file.recv().unwrap();
        assert!(!custody.has_unsaved_key());
        // Only now: a caller that waited for the file would have waited until it was given up.
        drop(permit);
        made.join().unwrap().unwrap();
    });
}
