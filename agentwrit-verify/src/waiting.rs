//! Tasks that wait for a change of a revocation list.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

/// Tasks that wait for a change of a list.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Waiters {
    /// Wakes every task, each once: a task that waits on registers again.
    pub(crate) fn wake(&self) {
        let wakers = mem::take(&mut self.registry().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// Registers the waker of a task, in the place of its earlier one. Returns the id of the task.
    pub(crate) fn register(&self, id: Option<u64>, waker: &Waker) -> u64 {
        let mut registry = self.registry();
        let id = id.unwrap_or(registry.next);
        registry.next = registry.next.max(id.saturating_add(1));
        registry.wakers.insert(id, waker.clone());
        id
    }

    pub(crate) fn remove(&self, id: u64) {
        self.registry().wakers.remove(&id);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
