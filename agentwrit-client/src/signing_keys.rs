//! Signing keys of the broker: list, rotation and withdrawal.

use std::time::Duration;

use agentwrit_protocol::{KeyChangeRequest, ListResponse, Page, SigningKeyRecord, paths};
use agentwrit_verify::KeyId;

use crate::{
    admin::{Admin, MAX_LIST_BYTES},
    error::ClientError,
    lists,
    request::ApiRequest,
};

impl Admin {
    /// Lists the signing keys, retired and withdrawn ones included.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn signing_keys(&self, page: &Page) -> Result<ListResponse<SigningKeyRecord>, ClientError> {
        let request = lists::get(paths::ADMIN_KEYS, &page.parameters()).max_response_bytes(MAX_LIST_BYTES);
        self.session().fetch(&request).await
    }

    /// Makes a key that is published and does not sign yet. [`Admin::activate_key`] lets it sign.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `conflict` when too many keys are published; any error of the network.
    pub async fn prepare_key(&self, change: &KeyChangeRequest) -> Result<SigningKeyRecord, ClientError> {
        self.change_key(ApiRequest::post(paths::ADMIN_KEYS, change)?, change).await
    }

    /// Lets a prepared or retiring key sign; the active one becomes retiring.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `conflict` when verifiers may not know the key yet, unless
    /// [`KeyChangeRequest::force`] is set, or with `not_found`; any error of the network.
    pub async fn activate_key(&self, kid: &KeyId, change: &KeyChangeRequest) -> Result<SigningKeyRecord, ClientError> {
        self.change_key(ApiRequest::post(path(paths::ADMIN_KEY_ACTIVATE, kid)?, change)?, change).await
    }

    /// Removes a retiring key from the key set.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `conflict` before its last token has expired, or with `not_found`; any error of
    /// the network.
    pub async fn retire_key(&self, kid: &KeyId, change: &KeyChangeRequest) -> Result<SigningKeyRecord, ClientError> {
        self.change_key(ApiRequest::post(path(paths::ADMIN_KEY_RETIRE, kid)?, change)?, change).await
    }

    /// Prepares a key, which the broker activates by itself once every verifier knows it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `conflict` when too many keys are published; any error of the network.
    pub async fn rotate_key(&self, change: &KeyChangeRequest) -> Result<SigningKeyRecord, ClientError> {
        self.change_key(ApiRequest::post(paths::ADMIN_KEY_ROTATION, change)?, change).await
    }

    /// Withdraws a key, which ends every token that it signed; if it is the active one, another key signs from then on.
    /// Idempotent.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is no such key; any error of the network, after which it
    /// may or may not have been withdrawn: repeat it.
    pub async fn withdraw_key(&self, kid: &KeyId, change: &KeyChangeRequest) -> Result<SigningKeyRecord, ClientError> {
        self.change_key(ApiRequest::post(path(paths::ADMIN_KEY_WITHDRAW, kid)?, change)?.idempotent(), change).await
    }

    async fn change_key(
        &self,
        request: ApiRequest,
        change: &KeyChangeRequest,
    ) -> Result<SigningKeyRecord, ClientError> {
        self.session().fetch(&request.wait(Duration::from_secs(change.wait.unwrap_or(0)))).await
    }
}

fn path(change: &str, kid: &KeyId) -> Result<String, ClientError> {
    paths::admin_key(change, kid).ok_or_else(|| ClientError::invalid("key id", "letters, digits, `-` and `_` only"))
}
