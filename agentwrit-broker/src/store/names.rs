//! Subjects and task ids as small numbers.

use agentwrit_verify::{AppId, Subject};

use super::{StoreError, cached_names::Name, job_state::HasJobState};

/// Reads of names.
pub trait ReadNames {
    /// Returns a name that is in the store.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn name(&self, name: &str) -> Result<Option<Name>, StoreError>;

    /// Returns the number of an app's own name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn app_key(&self, app_id: &AppId) -> Result<Option<i64>, StoreError> {
        Ok(self.name(&Subject::App(app_id.clone()).to_string())?.map(|name| name.id))
    }
}

/// Additions of names.
pub trait WriteNames: ReadNames + HasJobState {
    /// Adds a name, which must be new, and the app that it belongs to. Returns its number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn insert_name(&mut self, name: &str, app: Option<i64>) -> Result<i64, StoreError>;

    /// Adds a name, which must be new, and the app that it belongs to.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn add_name(&mut self, name: &str, app: Option<i64>) -> Result<Name, StoreError> {
        let added = Name::new(name, self.insert_name(name, app)?, app);
        self.job_mut().names.add(&added);
        Ok(added)
    }

    /// Returns `name`. Adds a new name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn intern(&mut self, name: &str) -> Result<Name, StoreError> {
        if let Some(known) = self.job_mut().names.get(name) {
            return Ok(known.clone());
        }
        let Some(interned) = self.name(name)? else {
            return self.add_name(name, None);
        };
        self.job_mut().names.add(&interned);
        Ok(interned)
    }

    /// Returns the number of an app's own name. Adds a new name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn intern_app(&mut self, app_id: Option<&AppId>) -> Result<Option<i64>, StoreError> {
        let Some(app_id) = app_id else {
            return Ok(None);
        };
        Ok(Some(self.intern(&Subject::App(app_id.clone()).to_string())?.id))
    }
}
