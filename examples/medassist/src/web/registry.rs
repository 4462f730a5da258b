//! Encounters in progress and the latest ones that ended, for the states of their credentials.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::assistant::Ended;

/// Largest number of encounters; the oldest is forgotten, and its tokens expire.
const MAX_KEPT: usize = 64;

/// End of an encounter, once it has come.
type End = Option<Arc<Ended>>;

/// Encounters by their ids, the newest first.
type Encounters = VecDeque<(String, watch::Receiver<End>)>;

/// Encounters of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry(Arc<Mutex<Encounters>>);

impl Registry {
    /// Adds an encounter. The sender announces its end.
    pub(super) fn begin(&self, id: String) -> watch::Sender<End> {
        let (sender, receiver) = watch::channel(None);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(MAX_KEPT - 1);
        kept.push_front((id, receiver));
        sender
    }

    /// Waits for the end of an encounter; `None` when there is none of this id.
    pub(super) async fn end(&self, id: &str) -> End {
        let mut end = self.receiver(id)?;
        end.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn receiver(&self, id: &str) -> Option<watch::Receiver<End>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == id).map(|(_, receiver)| receiver.clone())
    }
}
