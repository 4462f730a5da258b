//! `agentwrit-broker health` with the certificates that the project's own script makes, as the systemd unit and the
//! container call it: without a client certificate.

use std::{path::Path, process::Command};

use agentwrit_e2e::Broker;
use tempfile::tempdir;

#[tokio::test]
async fn succeeds_under_mutual_tls_with_the_certificates_of_gen_test_certs() {
    let directory = tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/gen_test_certs.sh");
    let made = Command::new(script).arg("--out").arg(directory.path().join("certs")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let settings = [
        ("AA_TLS_MODE", "mtls"),
        ("AA_TLS_CERT", "certs/server.crt"),
        ("AA_TLS_KEY", "certs/server.key"),
        ("AA_TLS_CLIENT_CA", "certs/ca.crt"),
    ];
    let broker = Broker::start_in(directory, &settings).await;
    let port = broker.address().rsplit(':').next().unwrap();
    let own = [&settings[..], &[("AA_PORT", port)]].concat();
    let healthy = Broker::run_in(broker.directory(), &own, &["health"]).await;
    assert!(healthy.status.success() && healthy.output.is_empty(), "{}", healthy.output);

    let (_, directory) = broker.terminate().await;
    let gone = Broker::run_in(directory.path(), &settings, &["health"]).await;
    assert_eq!(gone.status.code(), Some(1), "{}", gone.output);
}
