//! Labels with a bounded number of values.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};

/// One name and one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label {
    name: &'static str,
    value: Arc<str>,
}

impl Label {
    /// A value that is fixed in the program.
    pub(super) fn fixed(name: &'static str, value: &'static str) -> Self {
        Self { name, value: Arc::from(value) }
    }
}

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        (self.name, &*self.value).encode(encoder.encode_label())
    }
}

/// A label whose values come with requests: the first `limit` of them are kept, the others are one.
pub(super) struct BoundedLabel {
    name: &'static str,
    limit: usize,
    other: Arc<str>,
    known: RwLock<HashSet<Arc<str>>>,
}

impl BoundedLabel {
    pub(super) fn new(name: &'static str, limit: usize, other: &'static str) -> Self {
        Self { name, limit, other: Arc::from(other), known: RwLock::default() }
    }

    pub(super) fn label(&self, value: &str) -> Label {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(value).cloned();
        Label { name: self.name, value: known.unwrap_or_else(|| self.learn(value)) }
    }

    fn learn(&self, value: &str) -> Arc<str> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.limit && !known.contains(value) {
            return Arc::clone(&self.other);
        }
        let value: Arc<str> = Arc::from(value);
        known.insert(Arc::clone(&value));
        value
    }
}
