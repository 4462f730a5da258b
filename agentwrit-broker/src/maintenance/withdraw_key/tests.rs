use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use agentwrit_protocol::KeyState::{Active, Prepared, Withdrawn};
use clap::Parser as _;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    Broker,
    config::{Args, DatabaseUrl, OnLostHistory},
    store::{
        StoreOptions,
        tests::{Home as _, postgres_server::Schema},
    },
};

fn write_private(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn config_in(directory: &TempDir) -> Config {
    Config::for_development(directory.path(), "a secret for the tests").unwrap()
}

fn shared_config(directory: &TempDir, schema: &Schema) -> Config {
    let key_encryption_key_path = directory.path().join("kek");
    write_private(&key_encryption_key_path, [&[7; 31][..], &[0]].concat());
    let shared_store = Some(SharedStore {
        url: DatabaseUrl::parse(&schema.url_through(Schema::socket().parent().unwrap())).unwrap(),
        state_path: directory.path().join("broker.state"),
        key_encryption_key_path,
        on_lost_history: OnLostHistory::RevokeAll,
    });
    Config { shared_store, ..config_in(directory) }
}

/// Ids of the published keys of a broker.
async fn key_set(broker: &Broker) -> Vec<String> {
    let mut connection = TcpStream::connect(broker.local_addr()).await.unwrap();
    let request = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    let key_set: serde_json::Value = serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
    let keys = key_set["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Starts and stops a broker. Returns the ids of its published keys.
async fn start(config: &Config) -> Result<Vec<String>, String> {
    let broker = Broker::start(config.clone()).await.map_err(|error| error.to_string())?;
    let published = key_set(&broker).await;
    broker.shutdown().await;
    Ok(published)
}

/// Puts a prepared key into the database.
async fn prepare(config: &Config) -> String {
    let store = Store::open(&config.db_path, StoreOptions::default()).unwrap();
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy::open().unwrap());
    let custody = Custody::of_files(KeyFiles::at(&config.signing_key_path), entropy);
    let key = custody.new_key(&[], UnixTime::from_seconds(1_900_000_000)).unwrap();
    let kid = key.kid.clone();
    store.transact(move |tx| tx.put_signing_key(&key)).await.unwrap();
    store.close().await;
    kid
}

async fn rows(store: &Store) -> Vec<(String, KeyState)> {
    let rows = store.read(|reader| reader.signing_keys()).await.unwrap();
    rows.into_iter().filter(|row| row.purpose == KeyPurpose::Token).map(|row| (row.kid, row.state)).collect()
}

#[tokio::test]
async fn withdraws_active_key_whose_file_is_damaged_and_next_start_signs_with_new_one() {
    let directory = TempDir::new().unwrap();
    let config = config_in(&directory);
    let [leaked] = start(&config).await.unwrap().try_into().unwrap();
    let prepared = prepare(&config).await;
    write_private(&directory.path().join(format!("signing.key.d/{prepared}.pem")), "damaged");
    write_private(&config.signing_key_path, "-----BEGIN PRIVATE KEY-----\n");
    let rejected = start(&config).await.unwrap_err();
    assert!(rejected.contains("is damaged"), "{rejected}");

    let unknown = withdraw_keys(&config, &["another".into()], None).await.unwrap_err();
    assert_eq!(unknown, WithdrawKeyError::Unknown { kid: "another".into() });
    let done = withdraw_keys(&config, std::slice::from_ref(&leaked), Some("stolen-backup")).await.unwrap();
    let next = done.change.activated.clone().unwrap();
    assert!(next != leaked && next != prepared);
    let database = config.db_path.canonicalize().unwrap();
    let shown = format!("withdrawn: {leaked}\nactive: {next}\ndatabase: {}", database.display());
    assert_eq!(done.to_string(), shown);
    assert_eq!(start(&config).await.unwrap(), [next.clone(), prepared.clone()]);

    let store = Store::open(&config.db_path, StoreOptions::default()).unwrap();
    assert_eq!(rows(&store).await, [(leaked.clone(), Withdrawn), (next.clone(), Active), (prepared, Prepared)]);
    let cursor = store.read(|reader| Ok::<_, StoreError>((reader.keys_cursor()?, reader.latest_cursor()?))).await;
    assert_eq!(cursor.unwrap(), (1, 1), "followers read the change");
    let events = store.read(|reader| reader.audit_events_after(0, 10)).await.unwrap();
    for event in &events {
        assert!(event.detail.ends_with(" by=withdraw-key reason=stolen-backup"), "{}", event.detail);
    }
    let events: Vec<_> = events.iter().map(|event| (event.event_type, event.resource.clone())).collect();
    let expected = [(EventType::KeyWithdrawn, leaked.clone()), (EventType::KeyActivated, next.clone())];
    assert_eq!(events, expected.map(|(event_type, kid)| (event_type, Some(kid))));
    store.close().await;

    let again = withdraw_keys(&config, &[leaked], None).await.unwrap().change;
    assert_eq!(again.to_string(), format!("the keys were withdrawn before\nactive: {next}"));
}

#[test]
fn reason_is_as_long_as_that_of_online_operation_at_most() {
    for (length, is_accepted) in [(512, true), (513, false)] {
        let reason = "x".repeat(length);
        let parsed = Args::try_parse_from(["agentwrit-broker", "withdraw-key", "a-key", "--reason", &reason]);
        assert_eq!(parsed.is_ok(), is_accepted, "{length}");
    }
}

#[tokio::test]
async fn activates_prepared_key_in_place_of_withdrawn_one_and_rejects_database_of_running_broker() {
    let directory = TempDir::new().unwrap();
    let config = config_in(&directory);
    let [leaked] = start(&config).await.unwrap().try_into().unwrap();
    let prepared = prepare(&config).await;
    let running = Broker::start(config.clone()).await.unwrap();
    let rejected = withdraw_keys(&config, std::slice::from_ref(&leaked), None).await.unwrap_err().to_string();
    assert!(rejected.contains("is in use by another broker: stop that one first"), "{rejected}");
    running.shutdown().await;
    let done = withdraw_keys(&config, &[leaked], None).await.unwrap().change;
    assert_eq!(done.activated, Some(prepared.clone()));
    assert_eq!(start(&config).await.unwrap(), [prepared]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdraws_keys_of_shared_database_whose_rows_do_not_open() {
    let (directory, schema) = (TempDir::new().unwrap(), Schema::create());
    let config = shared_config(&directory, &schema);
    let [leaked] = start(&config).await.unwrap().try_into().unwrap();
    schema.execute("UPDATE signing_keys SET activated_at = activated_at + 1");
    let rejected = start(&config).await.unwrap_err();
    assert!(rejected.contains("agentwrit-broker withdraw-key"), "{rejected}");

    // The nonce key is named first: each start names one that does not open.
    let store = schema.open(StoreOptions::default());
    let keys = store.read(|reader| reader.signing_keys()).await.unwrap();
    let nonce = keys.into_iter().find(|row| row.purpose == KeyPurpose::Nonce).unwrap().kid;
    assert!(rejected.contains(&nonce), "{rejected}");
    withdraw_keys(&config, &[nonce], None).await.unwrap();
    let rejected = start(&config).await.unwrap_err();
    assert!(rejected.contains(&leaked), "{rejected}");
    let done = withdraw_keys(&config, std::slice::from_ref(&leaked), None).await.unwrap().change;
    let next = done.activated.unwrap();
    assert_eq!(start(&config).await.unwrap(), std::slice::from_ref(&next));
    assert_eq!(rows(&store).await, [(leaked, Withdrawn), (next, Active)]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_brokers_follow_withdrawal_in_shared_database() {
    let (directory, schema) = (TempDir::new().unwrap(), Schema::create());
    let config = shared_config(&directory, &schema);
    let broker = Broker::start(config.clone()).await.unwrap();
    let store = schema.open(StoreOptions::default());
    let [(leaked, _)] = rows(&store).await.try_into().unwrap();
    let next = withdraw_keys(&config, &[leaked], None).await.unwrap().change.activated.unwrap();
    assert_eq!(key_set(&broker).await, [next]);
    broker.shutdown().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_other_key_encryption_key_and_other_issuer() {
    let (directory, schema) = (TempDir::new().unwrap(), Schema::create());
    let config = shared_config(&directory, &schema);
    let [active] = start(&config).await.unwrap().try_into().unwrap();
    let other = Config { issuer: "https://other.example".into(), ..config.clone() };
    let rejected = withdraw_keys(&other, std::slice::from_ref(&active), None).await.unwrap_err();
    assert!(matches!(rejected, WithdrawKeyError::Settings { .. }), "{rejected}");
    write_private(&config.shared_store.as_ref().unwrap().key_encryption_key_path, [&[8; 31][..], &[0]].concat());
    let rejected = withdraw_keys(&config, std::slice::from_ref(&active), None).await.unwrap_err();
    assert_eq!(rejected, WithdrawKeyError::WrongKey);
    let store = schema.open(StoreOptions::default());
    assert_eq!(rows(&store).await, [(active, Active)]);
    store.close().await;
}

#[tokio::test]
async fn withdraws_active_key_when_no_key_file_can_be_made() {
    let directory = TempDir::new().unwrap();
    let config = config_in(&directory);
    let [leaked] = start(&config).await.unwrap().try_into().unwrap();
    let key_files = directory.path().join("signing.key.d");
    if key_files.exists() {
        fs::remove_dir_all(&key_files).unwrap();
    }
    fs::write(&key_files, "not a directory").unwrap();
    let done = withdraw_keys(&config, std::slice::from_ref(&leaked), None).await.unwrap().change;
    assert_eq!((done.withdrawn.as_slice(), &done.activated), ([leaked.clone()].as_slice(), &None));
    assert!(done.to_string().contains("warning: no key is active"), "{done}");
    let store = Store::open(&config.db_path, StoreOptions::default()).unwrap();
    assert_eq!(rows(&store).await, [(leaked.clone(), Withdrawn)]);
    store.close().await;

    // As the warning says.
    fs::remove_file(&key_files).unwrap();
    if config.signing_key_path.exists() {
        fs::remove_file(&config.signing_key_path).unwrap();
    }
    let [next] = start(&config).await.unwrap().try_into().unwrap();
    assert_ne!(next, leaked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warns_when_row_of_active_key_that_is_left_does_not_open() {
    let (directory, schema) = (TempDir::new().unwrap(), Schema::create());
    let config = shared_config(&directory, &schema);
    let [active] = start(&config).await.unwrap().try_into().unwrap();
    schema.execute(
        "INSERT INTO signing_keys SELECT 'another', purpose, public, sealed, 'retiring', created_at, activates_at, \
         activated_at, retire_at, changed_at, cursor FROM signing_keys WHERE purpose = 'token'",
    );
    let done = withdraw_keys(&config, &["another".into()], None).await.unwrap().change;
    assert_eq!(done.to_string(), format!("withdrawn: another\nactive: {active}"));
    schema.execute("UPDATE signing_keys SET created_at = created_at + 1 WHERE purpose = 'token'");
    let done = withdraw_keys(&config, &["another".into()], None).await.unwrap().change.to_string();
    assert!(done.contains("warning: no broker starts with the keys that are left") && done.contains(&active), "{done}");
}
