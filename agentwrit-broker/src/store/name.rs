//! A subject or task id, and its number in the store.

/// A name that is in the store. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub(super) id: i64,
    /// The app that it belongs to: of an app's own name, itself.
    pub(super) app: Option<i64>,
}

impl Name {
    pub(super) fn new(text: &str, id: i64, app: Option<i64>) -> Self {
        let is_app = text.starts_with("app:");
        Self { id, app: if is_app { Some(id) } else { app } }
    }
}
