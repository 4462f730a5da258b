//! Reads of apps.

use agentwrit_protocol::AttestationKind;
use agentwrit_verify::{AppId, UnixTime};

use super::{
    StoreError,
    facts::{ReadFacts, lookup},
    wants::Wants,
};
use crate::domain::{App, AppName, Digest, FormerSecret};

/// Reads of apps.
pub trait ReadApps: ReadFacts {
    /// An app, whatever its status.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn app(&self, app_id: &AppId) -> Result<Option<App>, StoreError> {
        lookup(self, || Wants::none().app(app_id), |facts| Some(facts.apps.find(app_id)?.cloned()))
    }

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

    /// Returns how many apps are active, and how many are suspended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn app_counts(&self) -> Result<AppCounts, StoreError>;

    /// Returns the active apps that have a trust rule for tokens of a kind and an issuer.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn active_apps_trusting(&self, kind: AttestationKind, issuer: &str) -> Result<Vec<App>, StoreError>;
}

/// Numbers of apps by status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppCounts {
    /// Active apps.
    pub active: u64,
    /// Suspended apps.
    pub suspended: u64,
}

impl AppCounts {
    /// Statement that returns both, on either database.
    pub(super) const SELECT: &str =
        "SELECT count(*) FILTER (WHERE NOT suspended), count(*) FILTER (WHERE suspended) FROM apps WHERE active";
}

/// Makes the former secret of an app of its columns.
pub(super) fn former_secret(digest: Option<[u8; 32]>, expires_at: Option<UnixTime>) -> Option<FormerSecret> {
    let (digest, expires_at) = digest.zip(expires_at)?;
    Some(FormerSecret { digest: Digest::from_bytes(digest), expires_at })
}
