//! Configuration of attestation by other issuers.

use super::{
    error::{ConfigError, ErrorList},
    sources::Settings,
    values,
};
use crate::attestation::{AttestationSettings, KubernetesSettings};

/// Returns the settings. The result is `None` if there are errors.
pub(super) fn check(settings: &Settings, errors: &mut ErrorList) -> Option<AttestationSettings> {
    let private_hosts = errors.keep(settings.value(&values::ATTESTATION_PRIVATE_HOSTS));
    let api_url = errors.keep(settings.value(&values::KUBERNETES_API_URL));
    let token_path = errors.keep(settings.value(&values::KUBERNETES_TOKEN_PATH));
    let ca_path = errors.keep(settings.value(&values::KUBERNETES_CA_PATH));
    let watch = errors.keep(settings.value(&values::KUBERNETES_WATCH));
    if watch == Some(true) && api_url == Some(None) {
        errors.0.push(ConfigError::KubernetesApiUrlMissing);
    }
    let (token_path, ca_path, watch) = (token_path?, ca_path?, watch?);
    let kubernetes = api_url?.map(|api_url| KubernetesSettings { api_url, token_path, ca_path, watch });
    Some(AttestationSettings { private_hosts: private_hosts?, kubernetes })
}

/// Returns the variables that are set and have no effect without an API server.
pub(super) fn unused(settings: &Settings) -> Vec<&'static str> {
    if settings.find(values::KUBERNETES_API_URL.name).is_some() {
        return Vec::new();
    }
    let names = [values::KUBERNETES_TOKEN_PATH.name, values::KUBERNETES_CA_PATH.name];
    names.into_iter().filter(|name| settings.find(name).is_some()).collect()
}
