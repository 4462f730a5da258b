//! A name of the store, and the names that a job has used.

/// Number of names that a job caches: more than any request uses.
const CACHED_NAMES: usize = 8;

/// A name that is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub(super) text: String,
    pub(super) id: i64,
    /// The app that it belongs to: of an app's own name, itself.
    pub(super) app: Option<i64>,
}

impl Name {
    pub(super) fn new(text: &str, id: i64, app: Option<i64>) -> Self {
        let is_app = text.starts_with("app:");
        Self { text: text.to_owned(), id, app: if is_app { Some(id) } else { app } }
    }
}

/// Names that the current job used.
#[derive(Debug, Default)]
pub(super) struct CachedNames(Vec<Name>);

impl CachedNames {
    pub(super) fn get(&self, text: &str) -> Option<&Name> {
        self.0.iter().find(|known| known.text == text)
    }

    pub(super) fn add(&mut self, name: &Name) {
        if self.0.len() >= CACHED_NAMES {
            self.0.clear();
        }
        self.0.push(name.clone());
    }
}
