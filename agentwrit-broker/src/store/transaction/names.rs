//! Additions of names.

use agentwrit_verify::{AppId, Subject};

use super::Tx;
use crate::store::{StoreError, name::Name, names::ReadNames, pending::NameRow};

impl Tx<'_> {
    /// Adds a name, which must be new, and the app that it belongs to.
    pub(super) fn add_name(&self, text: &str, app: Option<i64>) -> Name {
        let batch = &mut self.batch.borrow_mut();
        let id = batch.head.next_name();
        let name = Name::new(text, id, app);
        batch.facts.names.set(text.to_owned(), Some(name.clone()));
        batch.pending.names.push(NameRow { id, name: text.to_owned(), app });
        name
    }

    /// Returns a name. Adds a new one.
    pub(super) fn intern(&self, text: &str) -> Result<Name, StoreError> {
        let known = self.name(text)?;
        Ok(known.unwrap_or_else(|| self.add_name(text, None)))
    }

    /// Returns the number of an app's own name. Adds a new name.
    pub(super) fn intern_app(&self, app_id: Option<&AppId>) -> Result<Option<i64>, StoreError> {
        let name = app_id.map(|app_id| self.intern(&Subject::App(app_id.clone()).to_string()));
        Ok(name.transpose()?.map(|name| name.id))
    }
}
