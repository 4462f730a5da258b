//! Subjects and task ids as small numbers.

use agentwrit_verify::{AppId, Subject};

use super::{
    StoreError,
    facts::{ReadFacts, lookup},
    name::Name,
    wants::Wants,
};

/// Reads of names.
pub trait ReadNames: ReadFacts {
    /// Returns a name that is in the store.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn name(&self, name: &str) -> Result<Option<Name>, StoreError> {
        lookup(self, || Wants::none().name(name), |facts| Some(facts.names.find(name)?.cloned()))
    }

    /// Returns the number of an app's own name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn app_key(&self, app_id: &AppId) -> Result<Option<i64>, StoreError> {
        Ok(self.name(&Subject::App(app_id.clone()).to_string())?.map(|name| name.id))
    }
}

impl<R: ReadFacts + ?Sized> ReadNames for R {}
