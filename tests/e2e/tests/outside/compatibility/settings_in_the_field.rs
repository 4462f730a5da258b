//! Settings as Compose, Docker and Kubernetes pass them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use agentwrit_e2e::{ADMIN_SECRET, Broker};

#[tokio::test]
async fn starts_when_variables_are_empty_as_compose_passes_them() {
    let empty = [
        "AA_CONFIG_PATH",
        "AA_BIND_ADDRESS",
        "AA_LOG_LEVEL",
        "AA_LOG_FORMAT",
        "AA_TRUST_DOMAIN",
        "AA_DEFAULT_TTL",
        "AA_MAX_TTL",
        "AA_ADMIN_TOKEN_TTL",
        "AA_APP_TOKEN_TTL",
        "AA_TLS_MODE",
        "AA_TLS_CERT",
        "AA_TLS_KEY",
        "AA_TLS_CLIENT_CA",
        "AA_TRUSTED_PROXIES",
        "AA_SEED_TOKENS",
        "AA_SESSION_BUDGET",
    ];
    let broker = Broker::start_with(&empty.map(|name| (name, ""))).await;
    broker.admin_token().await;
    assert!(!broker.output().contains("WARN"), "{}", broker.output());
}

#[tokio::test]
async fn refuses_an_empty_admin_secret() {
    let stopped = Broker::refuses_to_start(&[("AA_ADMIN_SECRET", "")]).await;
    assert!(stopped.output.contains("AA_ADMIN_SECRET (environment) is empty"), "{}", stopped.output);
}

#[tokio::test]
async fn starts_on_files_that_kubernetes_opened_to_the_group() {
    let (_, directory) = Broker::start().await.terminate().await;
    for file in ["data.db", "data.db.lock", "signing.key"] {
        fs::set_permissions(directory.path().join(file), fs::Permissions::from_mode(0o660)).unwrap();
    }
    let broker = Broker::start_in(directory, &[]).await;
    broker.admin_token().await;
    for file in ["data.db", "data.db-wal", "data.db-shm", "data.db.lock", "signing.key"] {
        let path = broker.directory().join(file);
        broker
            .says(&format!("`{}` has mode 0660, so that its group can open it: run `chmod 600`", path.display()))
            .await;
    }
    // Including files left by a crash.
    let directory = broker.kill().await;
    Broker::start_in(directory, &[]).await.admin_token().await;
}

#[tokio::test]
async fn warns_of_quotation_marks_that_docker_keeps_around_the_secret() {
    let quoted = format!("\"{ADMIN_SECRET}\"");
    let broker = Broker::start_with(&[("AA_ADMIN_SECRET", &quoted)]).await;
    broker.says("| config | AA_ADMIN_SECRET (environment) begins and ends with a quotation mark").await;
    assert!(!broker.output().contains(ADMIN_SECRET), "{}", broker.output());
}

#[tokio::test]
async fn warns_of_a_lifetime_above_the_ceiling() {
    let broker = Broker::start_with(&[("AA_DEFAULT_TTL", "900"), ("AA_MAX_TTL", "600")]).await;
    broker.says("| config | AA_DEFAULT_TTL is 900 but AA_MAX_TTL is 600: tokens get 600 seconds at most").await;
}

#[tokio::test]
async fn reports_several_wrong_settings_at_one_start() {
    let wrong = [("AA_PORT", "eighty"), ("AA_MAX_TTL", "1d"), ("AA_LOG_LEVEL", "loud"), ("AA_TLS_MODE", "on")];
    let stopped = Broker::refuses_to_start(&wrong).await;
    let lines: Vec<&str> = stopped.output.lines().collect();
    assert_eq!(lines.len(), wrong.len(), "{}", stopped.output);
    for (variable, value) in wrong {
        let complaint = format!("agentwrit-broker: {variable} (environment) is `{value}`: it accepts ");
        assert!(lines.iter().any(|line| line.starts_with(&complaint)), "{complaint}: {}", stopped.output);
    }
}
