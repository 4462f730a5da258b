//! The store and the keys that a broker starts with.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::StartError;
use crate::{
    config::{Config, OnLostHistory, SharedStore},
    keys::{self, BrokerKeys, Custody, Entropy, KeyEncryptionKey, SealedKeys},
    maintenance::lost_history::{revoke_all, withdraw_keys_again},
    store::{self, JoinError, LostHistoryOptions, OnLoss, Reaction, Store, StoreError, StoreOptions},
};

/// Opens the store of the configuration and reads the keys, or makes what is missing.
pub(super) async fn open(config: &Config, entropy: &Arc<dyn Entropy>) -> Result<(Store, BrokerKeys), StartError> {
    let (key_path, file_entropy) = (config.signing_key_path.clone(), Arc::clone(entropy));
    let (config, entropy) = (config.clone(), Arc::clone(entropy));
    let accept_broken_audit = config.accept_broken_audit.clone();
    let options = StoreOptions { accept_broken_audit, ..StoreOptions::default() };
    let (store, keys) = spawn_blocking(move || {
        if let Some(shared) = &config.shared_store {
            let keys = join(&config, shared, entropy)?;
            let options = StoreOptions { lost_history: lost_history_options(shared, &keys.custody), ..options };
            return Ok::<_, StartError>((Store::connect(shared.url.expose(), options)?, Some(keys)));
        }
        Ok((Store::open(&config.db_path, options)?, None))
    })
    .await
    .map_err(|error| StoreError::Internal { cause: error.to_string() })??;
    let keys = match keys {
        Some(keys) => keys,
        None => match keys::open_key_files(&store, &key_path, &file_entropy).await {
            Ok(keys) => keys,
            Err(error) => {
                // Else the database is locked for a moment longer.
                store.close().await;
                return Err(error.into());
            }
        },
    };
    Ok((store, keys))
}

fn lost_history_options(shared: &SharedStore, custody: &Arc<Custody>) -> LostHistoryOptions {
    let custody = Arc::clone(custody);
    let reaction = match shared.on_lost_history {
        OnLostHistory::RevokeAll => OnLoss::react(revoke_all),
        OnLostHistory::Stop => OnLoss::Stop,
    };
    let withdraw_again = Reaction::new(move |tx, lost| withdraw_keys_again(tx, lost, &custody));
    LostHistoryOptions { state_path: Some(shared.state_path.clone()), reaction, withdraw_again: Some(withdraw_again) }
}

/// Joins the brokers of a shared database. Returns the keys of all of them. Blocks the thread.
fn join(config: &Config, shared: &SharedStore, entropy: Arc<dyn Entropy>) -> Result<BrokerKeys, StartError> {
    let kek = KeyEncryptionKey::read(&shared.key_encryption_key_path)?;
    let settings = config.cluster_settings(&kek);
    let sealed_keys = SealedKeys::new(kek, &config.issuer);
    let make_keys = |now| sealed_keys.first_keys(now, entropy.as_ref());
    let joined = store::join(shared.url.expose(), &settings, make_keys).map_err(|error| match error {
        JoinError::Open(error) => StartError::Open(error),
        JoinError::Keys(error) => StartError::SealedKey(error),
    })?;
    if joined.keys_made {
        tracing::info!(component = "signing", "a new signing key was made, sealed in the database");
    }
    for deviation in &joined.deviations {
        tracing::warn!(component = "config", "{deviation}: use the same setting for all of them");
    }
    Ok(BrokerKeys::from_rows(sealed_keys, &joined.keys, joined.keys_cursor, entropy)?)
}
