//! Apps.

use agentwrit_verify::{AppId, UnixTime};

use super::StoreError;
use crate::domain::{App, AppName};

/// Reads of apps.
pub trait ReadApps {
    /// An app, whatever its status.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn app(&self, app_id: &AppId) -> Result<Option<App>, StoreError>;

    /// The app that authenticates with `client_id`, whatever its status.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn app_by_client_id(&self, client_id: &str) -> Result<Option<App>, StoreError>;

    /// The app of that name that is not deregistered.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn registered_app_named(&self, name: &AppName) -> Result<Option<App>, StoreError>;

    /// Returns a page of all apps in the order of registration, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn apps(&self, limit: u64, offset: u64) -> Result<(Vec<App>, u64), StoreError>;
}

/// Changes to apps.
pub trait WriteApps {
    /// Adds an app. Returns false if an app that is not deregistered has its name.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for an `app_id` or `client_id` that exists.
    fn insert_app(&mut self, app: &App) -> Result<bool, StoreError>;

    /// Updates scopes, token lifetime, status and times of an app. Returns false for an unknown app.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn update_app(&mut self, app: &App) -> Result<bool, StoreError>;

    /// Suspends every active app. Returns their ids.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn suspend_apps(&mut self, at: UnixTime) -> Result<Vec<AppId>, StoreError>;
}
