//! A certificate that is renewed while its key cannot be read for a moment (C7).

use std::{
    fs::{self, File},
    path::Path,
};

use agentwrit_e2e::Broker;
use rcgen::ExtendedKeyUsagePurpose;
use reqwest::{Certificate, Client};

use crate::certificates::{Authority, TLS};

/// Replaces a file's text by one of the same length, with the same time of writing: what a permission that comes and goes
/// leaves. (Tests may run as root, whom no permission keeps from reading.)
fn replace_unnoticed(path: &Path, text: &str) {
    let before = fs::metadata(path).unwrap();
    assert_eq!(before.len(), text.len() as u64);
    fs::write(path, text).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

async fn trusts(broker: &Broker, authority: &Authority) -> bool {
    let certificate = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    // A new client each time: no connection from before.
    let client = Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap();
    client.get(format!("https://{}/v1/health", broker.address())).send().await.is_ok()
}

async fn renewal_failing(broker: &Broker, authority: &Authority) -> String {
    let certificate = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap();
    let metrics = client.get(format!("https://{}/v1/metrics", broker.address())).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = metrics.lines().find(|line| line.starts_with("agentwrit_tls_renewal_failing "));
    line.unwrap_or_else(|| panic!("{metrics}")).to_owned()
}

#[tokio::test]
async fn renewal_is_tried_again_until_key_can_be_read() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let directory = tempfile::tempdir().unwrap();
    old.install_server(directory.path());
    let broker = Broker::start_in(directory, &TLS).await;
    assert!(trusts(&broker, &old).await);

    let (certificate, key) = new.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let key_path = broker.directory().join("server.key");
    fs::write(&key_path, "x".repeat(key.len())).unwrap();
    fs::write(broker.directory().join("server.pem"), certificate).unwrap();
    broker.says("the new certificates cannot be used, the old ones stay").await;
    assert!(trusts(&broker, &old).await, "the old certificate is served meanwhile");
    assert_eq!(renewal_failing(&broker, &old).await, "agentwrit_tls_renewal_failing 1");

    replace_unnoticed(&key_path, &key);
    broker.says("certificates were read again").await;
    assert!(trusts(&broker, &new).await);
    assert_eq!(renewal_failing(&broker, &new).await, "agentwrit_tls_renewal_failing 0");
}

#[tokio::test]
async fn health_check_passes_while_renewal_fails() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let directory = tempfile::tempdir().unwrap();
    old.install_server(directory.path());
    let broker = Broker::start_in(directory, &TLS).await;
    let (certificate, _) = new.issue(ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(broker.directory().join("server.pem"), certificate).unwrap();
    broker.says("the new certificates cannot be used, the old ones stay").await;

    let port = broker.address().rsplit(':').next().unwrap();
    let settings = [&TLS[..], &[("AA_PORT", port)]].concat();
    let health = Broker::run_in(broker.directory(), &settings, &["health"]).await;
    assert!(health.status.success(), "{}", health.output);
}
