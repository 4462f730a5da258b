//! Commands and starts of brokers on a shared database (contract §10, §11).

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use agentwrit_e2e::{Broker, Brokers, Stopped};
use postgres_server::PostgresServer;
use serde_json::json;

/// Runs the program in a directory of its own with the environment of the first broker, and these variables.
async fn run(brokers: &Brokers, settings: &[(&str, &str)], arguments: &[&str]) -> Stopped {
    let directory = tempfile::tempdir().unwrap();
    let environment = brokers.environment(0);
    let mut environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    environment.extend([("AA_PORT", "0")].iter().chain(settings).copied());
    Broker::run_in(directory.path(), &environment, arguments).await
}

#[tokio::test]
async fn mark_restored_ends_every_token_while_brokers_run() {
    let server = Arc::new(PostgresServer::start());
    let brokers = Brokers::start(&server, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let agent = brokers.at(0).enrol(&admin, "task", json!({"allowed_scope": ["read:data:*"]})).await;
    assert!(brokers.at(1).accepts(&agent.token).await);
    let checked = run(&brokers, &[], &["check", "--probe"]).await;
    assert!(checked.status.success(), "{}", checked.output);
    let marked = run(&brokers, &[], &["mark-restored"]).await;
    assert!(marked.status.success(), "{}", marked.output);
    assert!(marked.output.contains("\nagents barred: 1\n"), "{}", marked.output);
    assert!(marked.output.ends_with("\ndatabase: PostgreSQL (AA_DATABASE_URL)\n"), "{}", marked.output);
    for number in 0..2 {
        assert!(!brokers.at(number).accepts(&agent.token).await, "broker {number}");
    }
    assert!(run(&brokers, &[], &["confirm-clock"]).await.status.success());
}

#[tokio::test]
async fn commands_reject_database_without_records_and_make_no_tables() {
    let server = Arc::new(PostgresServer::start());
    let brokers = Brokers::prepare(&server, 1, &[]).await;
    for command in ["mark-restored", "confirm-clock"] {
        let rejected = run(&brokers, &[], &[command]).await;
        assert_eq!(rejected.status.code(), Some(1));
        let problem = "the shared database is empty: set AA_DATABASE_URL to the one that the brokers use";
        assert!(rejected.output.contains(problem), "{command}: {}", rejected.output);
    }
    assert_eq!(server.query(&brokers.database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), ["0"]);
    let applied = run(&brokers, &[], &["schema", "--apply"]).await;
    assert_eq!(applied.output, "schema version 1 was created\n");
}

#[tokio::test]
async fn start_with_other_settings_or_key_than_first_broker_stops_and_shows_no_password() {
    let server = Arc::new(PostgresServer::start());
    let brokers = Brokers::start(&server, 1).await;
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("kek");
    fs::write(&key, (0..32).collect::<Vec<u8>>()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let missing = "postgres://agentwrit:hunter2@127.0.0.1:1/broker";
    for (setting, problem) in [
        (("AA_AUDIENCE", "other"), "AA_AUDIENCE is `other` here and `` for the other brokers of this database"),
        (("AA_TRUST_DOMAIN", "other.example"), "AA_TRUST_DOMAIN is `other.example` here and `agentwrit.local`"),
        (("AA_KEY_ENCRYPTION_KEY_PATH", key.to_str().unwrap()), "is sealed under another key-encryption key"),
        (("AA_KEY_ENCRYPTION_KEY_PATH", "/missing/kek"), "copy it from another broker of this database"),
        (("AA_KEY_ENCRYPTION_KEY_PATH", ""), "AA_KEY_ENCRYPTION_KEY_PATH is not set"),
        (("AA_DATABASE_URL", missing), "the store is unavailable"),
        (("AA_DATABASE_URL", "mysql://agentwrit:hunter2@db/broker"), "is not a URL of PostgreSQL"),
    ] {
        let stopped = run(&brokers, &[setting], &[]).await;
        assert_eq!(stopped.status.code(), Some(1), "{setting:?}: {}", stopped.output);
        assert!(stopped.output.contains(problem), "{setting:?}: {}", stopped.output);
        let checked = run(&brokers, &[setting], &["check", "--probe"]).await;
        assert_eq!(checked.status.code(), Some(1), "{setting:?}: {}", checked.output);
        assert!(checked.output.contains(problem), "{setting:?}: {}", checked.output);
        assert!(![stopped.output, checked.output].concat().contains("hunter2"));
    }
}
