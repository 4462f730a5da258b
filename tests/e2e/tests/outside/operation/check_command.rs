//! `agentwrit-broker check` tells before a start what is wrong, and leaves no trace.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};

use agentwrit_e2e::{Broker, Stopped, alter_database, protected_header};
use serde_json::json;

async fn check(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Stopped {
    Broker::run_in(directory, environment, &[&["check"], arguments].concat()).await
}

fn files(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn prints_every_error_and_every_warning_and_exits_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("AA_PORT", "eighty"),
        ("AA_TLS_MODE", "tls"),
        ("AA_TLS_CLIENT_CA", "/ca.crt"),
        ("AA_DEFAULT_TTL", "900"),
        ("AA_MAX_TTL", "600"),
        ("AA_SOMETHING_ELSE", "1"),
    ];
    let checked = check(directory.path(), &settings, &[]).await;
    assert_eq!(
        checked.output,
        "error: AA_PORT (environment) is `eighty`: it accepts a port number from 1 to 65535, or 0 for any free one\n\
         error: AA_TLS_CERT is not set: AA_TLS_MODE `tls` requires a path to a PEM file there\n\
         error: AA_TLS_KEY is not set: AA_TLS_MODE `tls` requires a path to a PEM file there\n\
         warning: `AA_SOMETHING_ELSE` is not a variable of this broker\n\
         warning: AA_DEFAULT_TTL is 900 but AA_MAX_TTL is 600: tokens get 600 seconds at most\n\
         warning: `AA_TLS_CLIENT_CA` is set but AA_TLS_MODE does not use it\n\
         3 errors, 3 warnings\n"
    );
    assert_eq!(checked.status.code(), Some(1));
}

#[tokio::test]
async fn starts_nothing_and_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["--probe"]] {
        let checked = check(directory.path(), &[], arguments).await;
        assert_eq!((checked.output.as_str(), checked.status.code()), ("0 errors, 0 warnings\n", Some(0)));
        assert_eq!(files(directory.path()), BTreeSet::new());
    }
    let (_, directory) = Broker::start_in(directory, &[]).await.terminate().await;
    let before = files(directory.path());
    let checked = check(directory.path(), &[], &["--probe"]).await;
    assert_eq!((checked.output.as_str(), checked.status.code()), ("0 errors, 0 warnings\n", Some(0)));
    assert_eq!(files(directory.path()), before);
}

#[tokio::test]
async fn probe_reports_key_database_certificates_and_address() {
    let broker = Broker::start().await;
    broker.admin_token().await;
    let taken = Broker::start().await;
    let port = taken.address().rsplit(':').next().unwrap().to_owned();
    let (_, directory) = broker.terminate().await;
    alter_database(directory.path(), "UPDATE audit_events SET detail = 'x' WHERE seq = 1");
    fs::set_permissions(directory.path().join("signing.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let settings =
        [("AA_PORT", port.as_str()), ("AA_TLS_MODE", "tls"), ("AA_TLS_CERT", "no.crt"), ("AA_TLS_KEY", "no.key")];
    let checked = check(directory.path(), &settings, &["--probe"]).await;
    assert_eq!(checked.status.code(), Some(1), "{}", checked.output);
    for found in [
        "error: the signing key `",
        "error: the audit trail is broken: ",
        "error: AA_TLS_KEY: `no.key` cannot be used: ",
        &format!("error: cannot listen on 127.0.0.1:{port}: "),
        "4 errors, ",
    ] {
        assert!(checked.output.lines().any(|line| line.starts_with(found)), "{found}: {}", checked.output);
    }
}

#[tokio::test]
async fn probe_of_running_broker_warns_and_does_not_disturb_it() {
    let broker = Broker::start().await;
    let port = broker.address().rsplit(':').next().unwrap().to_owned();
    let checked = check(broker.directory(), &[("AA_PORT", &port)], &["--probe"]).await;
    let database = broker.directory().join("data.db").display().to_string();
    assert_eq!(
        checked.output,
        format!(
            "warning: `{database}` is in use: a broker runs on it\n\
             warning: 127.0.0.1:{port} is in use: presumably by the broker that runs\n\
             0 errors, 2 warnings\n"
        )
    );
    assert_eq!(checked.status.code(), Some(0));
    broker.admin_token().await;
    // After a crash the write-ahead log is not empty.
    let directory = broker.kill().await;
    let before = files(directory.path());
    let checked = check(directory.path(), &[], &["--probe"]).await;
    assert_eq!((checked.output.as_str(), checked.status.code()), ("0 errors, 0 warnings\n", Some(0)));
    assert_eq!(files(directory.path()), before);
    Broker::start_in(directory, &[]).await.admin_token().await;
}

#[tokio::test]
async fn probe_tells_what_next_start_changes_because_of_key_files() {
    let (_, directory) = Broker::start().await.terminate().await;
    let key = directory.path().join("signing.key");
    let pem = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let checked = check(directory.path(), &[], &["--probe"]).await;
    assert!(checked.output.starts_with("warning: the next start withdraws the signing key `"), "{}", checked.output);
    fs::write(&key, pem).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let checked = check(directory.path(), &[], &["--probe"]).await;
    assert_eq!((checked.output.as_str(), checked.status.code()), ("0 errors, 0 warnings\n", Some(0)));
}

/// The broker was killed while the successor of a withdrawn key was in its memory only: the log has the withdrawal.
#[tokio::test]
async fn check_finds_what_start_after_crash_rejects_because_of_keys() {
    let broker = Broker::start().await;
    let token = broker.admin_token().await;
    let no_directory = broker.directory().join("signing.key.d");
    fs::write(&no_directory, "").unwrap();
    let kid = protected_header(&token)["kid"].as_str().unwrap().to_owned();
    let withdrawn = broker.post(&format!("/v1/admin/keys/{kid}/withdraw")).bearer(&token).json(&json!({})).await;
    assert_eq!(withdrawn.json()["warnings"], json!(["signing_key_not_saved"]));
    let directory = broker.kill().await;
    let before = files(directory.path());
    let mut errors = Vec::new();
    for is_mended in [false, true] {
        if is_mended {
            fs::remove_file(&no_directory).unwrap();
        }
        for options in [&[][..], &["--probe"]] {
            let checked = check(directory.path(), &[], options).await;
            assert_eq!(checked.status.code(), Some(1), "{}", checked.output);
            let error = checked.output.strip_prefix("error: ").and_then(|rest| rest.split_once('\n'));
            let (error, rest) = error.unwrap_or_else(|| panic!("{}", checked.output));
            assert!(rest.ends_with("1 error, 0 warnings\n") || !options.is_empty(), "{}", checked.output);
            errors.push((is_mended, error.to_owned()));
        }
    }
    fs::write(&no_directory, "").unwrap();
    assert_eq!(files(directory.path()), before, "no check makes or removes a file");
    for (is_mended, error) in errors {
        if is_mended && no_directory.exists() {
            fs::remove_file(&no_directory).unwrap();
        }
        let start = Broker::run_in(directory.path(), &[], &[]).await;
        assert!(!start.status.success() && start.output.contains(&error), "{error}: {}", start.output);
    }
}

#[tokio::test]
async fn exits_with_2_when_used_wrongly() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(check(directory.path(), &[], &["--prob"]).await.status.code(), Some(2));
}
