//! Subjects and task ids as small numbers.

use agentwrit_verify::{AppId, Subject};

use super::{Reader, StoreError, Tx};

/// Number of names that a job caches: more than any request uses.
const CACHED_NAMES: usize = 8;

/// A name that is in the store.
#[derive(Clone, Debug)]
pub(super) struct Name {
    text: String,
    pub(super) id: i64,
    /// The app that it belongs to: of an app's own name, itself.
    pub(super) app: Option<i64>,
}

impl Reader<'_> {
    pub(super) fn name(&self, name: &str) -> Result<Option<Name>, StoreError> {
        let is_app = name.starts_with("app:");
        self.find("SELECT id, app FROM names WHERE name = ?1", [name], |row| {
            let id = row.get(0)?;
            Ok(Name { text: name.to_owned(), id, app: if is_app { Some(id) } else { row.get(1)? } })
        })
    }

    /// Returns the number of an app's own name.
    pub(super) fn app_key(&self, app_id: &AppId) -> Result<Option<i64>, StoreError> {
        Ok(self.name(&Subject::App(app_id.clone()).to_string())?.map(|name| name.id))
    }
}

impl Tx<'_> {
    /// Returns the number of `name`. Adds a new name.
    pub(super) fn intern(&mut self, name: &str) -> Result<Name, StoreError> {
        if let Some(known) = self.names.iter().find(|known| known.text == name) {
            return Ok(known.clone());
        }
        let Some(interned) = self.name(name)? else {
            return self.add_name(name, None);
        };
        self.remember(&interned);
        Ok(interned)
    }

    /// A name that must be new, and the app that it belongs to.
    pub(super) fn add_name(&mut self, name: &str, app: Option<i64>) -> Result<Name, StoreError> {
        let id = self.insert("INSERT INTO names (name, app) VALUES (?1, ?2)", (name, app))?;
        let app = if name.starts_with("app:") { Some(id) } else { app };
        let added = Name { text: name.to_owned(), id, app };
        self.remember(&added);
        Ok(added)
    }

    fn remember(&mut self, name: &Name) {
        if self.names.len() >= CACHED_NAMES {
            self.names.clear();
        }
        self.names.push(name.clone());
    }

    pub(super) fn intern_app(&mut self, app_id: Option<&AppId>) -> Result<Option<i64>, StoreError> {
        let Some(app_id) = app_id else {
            return Ok(None);
        };
        Ok(Some(self.intern(&Subject::App(app_id.clone()).to_string())?.id))
    }
}
