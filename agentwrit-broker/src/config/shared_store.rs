//! Configuration of a store that several brokers share.

use std::{fmt, path::PathBuf};

use super::{
    error::{ConfigError, ErrorList},
    names,
    sources::Settings,
    values::{self, OnLostHistory},
};
use crate::keys::Secret;

/// Settings of a PostgreSQL store: `AA_DATABASE_URL` and the variables that apply with it only.
#[derive(Clone, Debug)]
pub struct SharedStore {
    /// `AA_DATABASE_URL`
    pub url: DatabaseUrl,
    /// `AA_STATE_PATH`: this broker's own file, beside which its health socket is.
    pub state_path: PathBuf,
    /// `AA_KEY_ENCRYPTION_KEY_PATH`
    pub key_encryption_key_path: PathBuf,
    /// `AA_ON_LOST_HISTORY`
    pub on_lost_history: OnLostHistory,
}

impl SharedStore {
    /// Returns the settings, or `Some(None)` without `AA_DATABASE_URL`. The result is `None` if there are errors.
    #[expect(clippy::option_option, reason = "the outer one is None for errors, the inner one for an unset URL")]
    pub(super) fn check(settings: &Settings, errors: &mut ErrorList) -> Option<Option<Self>> {
        let state_path = errors.keep(settings.value(&values::STATE_PATH));
        let on_lost_history = errors.keep(settings.value(&values::ON_LOST_HISTORY));
        let Some(url) = DatabaseUrl::check(settings) else {
            return (state_path.is_some() && on_lost_history.is_some()).then_some(None);
        };
        let url = errors.keep(url);
        let key_encryption_key = settings.find(names::KEY_ENCRYPTION_KEY_PATH).map(|setting| setting.text.as_str());
        let key_encryption_key =
            errors.keep(key_encryption_key.and_then(values::path).ok_or(ConfigError::KeyEncryptionKeyMissing));
        Some(Some(Self {
            url: url?,
            state_path: state_path?,
            key_encryption_key_path: key_encryption_key?,
            on_lost_history: on_lost_history?,
        }))
    }

    /// Returns the variables that are set and that the store in use does not need.
    pub(super) fn unused(settings: &Settings) -> Vec<&'static str> {
        let unused: &[&'static str] = match settings.find(names::DATABASE_URL) {
            Some(_) => &[values::DB_PATH.name, values::SIGNING_KEY_PATH.name],
            None => &[values::STATE_PATH.name, names::KEY_ENCRYPTION_KEY_PATH, values::ON_LOST_HISTORY.name],
        };
        unused.iter().copied().filter(|name| settings.find(name).is_some()).collect()
    }
}

/// URL of a PostgreSQL database. It usually holds a password, so it is never printed.
#[derive(Clone)]
pub struct DatabaseUrl(Secret);

impl DatabaseUrl {
    /// Returns the URL of the settings, or its error; None if it is not set.
    pub(super) fn check(settings: &Settings) -> Option<Result<Self, ConfigError>> {
        let setting = settings.find(names::DATABASE_URL)?;
        let malformed = || ConfigError::DatabaseUrl { origin: setting.origin.clone() };
        Some(Self::parse(&setting.text).ok_or_else(malformed))
    }

    /// Parses a URL of the scheme `postgres` or `postgresql`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
        (!rest.is_empty() && !text.contains('\0')).then(|| Self(Secret::from(text)))
    }

    /// Returns the text. Keep it out of logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}
