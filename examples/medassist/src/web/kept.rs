//! Agents that encounters left live, for the states of their cards.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use crate::assistant::KeptAgents;

/// Largest number of encounters; the oldest is forgotten, and its tokens expire.
const MAX_KEPT: usize = 16;

/// Agents by the encounter's id.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<VecDeque<(String, KeptAgents)>>>);

impl Kept {
    pub(super) fn add(&self, id: String, agents: KeptAgents) {
        if agents.is_empty() {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(MAX_KEPT - 1);
        kept.push_front((id, agents));
    }

    pub(super) fn of(&self, id: &str) -> Option<KeptAgents> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == id).map(|(_, agents)| agents.clone())
    }
}
