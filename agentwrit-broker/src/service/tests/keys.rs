//! Changes of the signing keys: their files, the key set, and the feed.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use agentwrit_verify::{Clock, VerifyError};
use data_encoding::BASE64URL_NOPAD;
use futures_util::FutureExt;
use serde_json::Value;

use super::{
    feed::{LONG, read},
    *,
};
use crate::{
    audit::EventType,
    domain::{KeyPurpose, KeyState, StoredKey},
};

/// Returns the id of the key that a token names.
pub(super) fn kid_of(token: &str) -> String {
    let header: Value =
        serde_json::from_slice(&BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Changes the states of keys as the operations do.
async fn change(
    services: &Services,
    change: impl Fn(&[StoredKey], UnixTime) -> Vec<StoredKey> + Clone + Send + 'static,
) -> u64 {
    let feed = services.feed.clone();
    let changed = services.ledger.transact(move |tx| {
        let rows: Vec<StoredKey> =
            tx.signing_keys()?.into_iter().filter(|row| row.purpose == KeyPurpose::Token).collect();
        let changed = change(&rows, tx.now());
        Ok::<_, Error>(feed.change_keys(tx, changed)?)
    });
    changed.await.unwrap()
}

/// Adds a prepared key. Returns its id.
pub(super) async fn prepare(services: &Services) -> String {
    let key = services.issuer.custody().new_key(&[], services.ledger.now()).unwrap();
    let kid = key.kid.clone();
    change(services, move |_, _| vec![key.clone()]).await;
    kid
}

pub(super) async fn activate(services: &Services, kid: &str) {
    let kid = kid.to_owned();
    let activated = move |rows: &[StoredKey], now: UnixTime| {
        let former = rows.iter().find(|row| row.state == KeyState::Active).unwrap().clone();
        let next = rows.iter().find(|row| row.kid == kid).unwrap().clone();
        vec![
            StoredKey { state: KeyState::Retiring, retire_at: Some(now), ..former },
            StoredKey { state: KeyState::Active, activated_at: Some(now), ..next },
        ]
    };
    change(services, activated).await;
}

/// Ends keys that are not the active one.
pub(super) async fn end(services: &Services, kid: &str, state: KeyState) -> u64 {
    let kid = kid.to_owned();
    change(services, move |rows, _| {
        vec![StoredKey { state, ..rows.iter().find(|row| row.kid == kid).unwrap().clone() }]
    })
    .await
}

/// Prepares a key and activates it. Returns the ids of the former and the new one.
pub(super) async fn rotate(services: &Services) -> [String; 2] {
    let former = services.issuer.ring().active.id().as_str().to_owned();
    let next = prepare(services).await;
    activate(services, &next).await;
    [former, next]
}

/// Published keys that a feed response names, and its active one.
pub(super) fn announced(response: &Value) -> (Vec<String>, String) {
    let kids = response["kids"].as_array().unwrap_or_else(|| panic!("no kids in {response}"));
    (kids.iter().map(|kid| kid.as_str().unwrap().to_owned()).collect(), response["active"].as_str().unwrap().to_owned())
}

fn published(services: &Services) -> Vec<String> {
    services.issuer.ring().published.iter().map(|key| key.id().as_str().to_owned()).collect()
}

impl TestServices {
    pub(super) fn directory_of_keys(&self) -> PathBuf {
        self.directory.path().join("signing.key.d")
    }

    /// Ids of the keys whose files are in the directory.
    fn files(&self) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.directory_of_keys()) else { return BTreeSet::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| name.strip_suffix(".pem").unwrap().to_owned()).collect()
    }

    /// Id of the key at the path.
    fn at_path(&self) -> String {
        let pem = fs::read(&self.config.signing_key_path).unwrap();
        agentwrit_verify::issue::SigningKey::from_pkcs8_pem(&pem).unwrap().id().as_str().to_owned()
    }

    async fn states(&self) -> Vec<(String, KeyState)> {
        let rows = self.services.ledger.store.read(|reader| reader.signing_keys()).await.unwrap();
        rows.into_iter().map(|row| (row.kid, row.state)).collect()
    }

    async fn restart_now(&mut self) {
        self.restart_at(self.clock.now()).await;
    }

    async fn events(&self) -> Vec<(EventType, String)> {
        let of_keys = [EventType::KeyActivated, EventType::KeyWithdrawn];
        let trail = self.trail().await.into_iter().filter(|event| of_keys.contains(&event.event_type));
        trail.map(|event| (event.event_type, event.detail)).collect()
    }
}

#[tokio::test]
async fn tokens_of_prepared_active_and_retiring_key_verify_and_those_of_ended_one_do_not() {
    let test = TestServices::new().await;
    let [former, next] = rotate(&test.services).await;
    let prepared = prepare(&test.services).await;
    assert_eq!(published(&test.services), [next.as_str(), &prepared, &former]);
    let agent = test.enrol("task", 60).await;
    assert_eq!(kid_of(&agent.token), next);
    assert!(test.verify(&agent.token).is_ok());
    activate(&test.services, &prepared).await;
    assert_eq!(published(&test.services).len(), 3);
    assert!(test.verify(&agent.token).is_ok(), "its key is retiring");
    end(&test.services, &next, KeyState::Withdrawn).await;
    assert!(matches!(test.verify(&agent.token), Err(VerifyError::UnknownKey { .. })));
    assert_eq!(published(&test.services), [prepared.as_str(), &former]);
}

#[tokio::test]
async fn files_follow_states_and_are_private() {
    let mut test = TestServices::new().await;
    let first = test.at_path();
    let second = prepare(&test.services).await;
    assert_eq!((test.at_path(), test.files()), (first.clone(), BTreeSet::from([second.clone()])));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(test.directory_of_keys()), 0o700);
    activate(&test.services, &second).await;
    assert_eq!((test.at_path(), test.files()), (second.clone(), BTreeSet::from([first.clone()])));
    assert_eq!(mode(test.directory_of_keys().join(format!("{first}.pem"))), 0o600);
    assert_eq!(mode(test.config.signing_key_path.clone()), 0o600);
    for state in [KeyState::Retired, KeyState::Withdrawn] {
        let third = prepare(&test.services).await;
        end(&test.services, &third, state).await;
        assert!(!test.files().contains(&third), "{state:?}");
    }
    let before = (test.states().await, published(&test.services), test.events().await);
    test.restart_now().await;
    assert_eq!((test.states().await, published(&test.services), test.events().await), before);
    activate(&test.services, &first).await;
    assert_eq!((test.at_path(), test.files()), (first, BTreeSet::from([second])), "back to the former key");
}

/// A stop at each point between the file, the commit and the moves of files, and the start after it.
#[tokio::test]
async fn start_finishes_key_change_that_a_crash_interrupted() {
    let mut test = TestServices::new().await;
    let (first, path) = (test.at_path(), test.config.signing_key_path.clone());
    // After the file was made, before its row was committed.
    let orphan = test.services.issuer.custody().new_key(&[], test.clock.now()).unwrap().kid;
    test.restart_now().await;
    assert_eq!((test.states().await, test.at_path()), (vec![(first.clone(), KeyState::Active)], first.clone()));
    assert_eq!(test.files(), BTreeSet::from([orphan.clone()]), "it may belong to another database");
    fs::remove_file(test.directory_of_keys().join(format!("{orphan}.pem"))).unwrap();

    let second = prepare(&test.services).await;
    let (old, new) =
        (fs::read(&path).unwrap(), fs::read(test.directory_of_keys().join(format!("{second}.pem"))).unwrap());
    activate(&test.services, &second).await;
    let settled = (test.states().await, second.clone(), BTreeSet::from([first.clone()]), published(&test.services));
    let in_directory = |kid: &str| test.directory_of_keys().join(format!("{kid}.pem"));
    let (first_file, second_file) = (in_directory(&first), in_directory(&second));
    let put = |path: &PathBuf, pem: &[u8]| {
        fs::write(path, pem).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    // After the commit, before any file was moved; after the former key's file was written; after the rename, with a leftover.
    for stop in 0..3 {
        match stop {
            0 => {
                fs::remove_file(&first_file).unwrap();
                put(&path, &old);
                put(&second_file, &new);
            }
            1 => {
                put(&path, &old);
                put(&second_file, &new);
            }
            _ => put(&second_file, &new),
        }
        test.restart_now().await;
        let found = (test.states().await, test.at_path(), test.files(), published(&test.services));
        assert_eq!(found, settled, "stop {stop}");
    }
    // After the commit of a withdrawal, before the file was removed.
    end(&test.services, &first, KeyState::Withdrawn).await;
    put(&first_file, &old);
    test.restart_now().await;
    assert_eq!((test.files(), published(&test.services)), (BTreeSet::new(), vec![second]));
    assert_eq!(test.events().await, [], "nothing but files was changed");
}

#[tokio::test]
async fn key_that_operator_put_at_path_becomes_active_and_former_one_is_withdrawn() {
    let mut test = TestServices::new().await;
    let agent = test.enrol("task", 60).await;
    let (first, cursor) = (test.at_path(), read(&*test.ask(None).await)["to"].as_u64().unwrap());
    fs::remove_file(&test.config.signing_key_path).unwrap();
    test.restart_now().await;
    let second = test.at_path();
    let withdrawn =
        (EventType::KeyWithdrawn, format!("signing key withdrawn at the start: its file is missing kid={first}"));
    let detail = format!("signing key activated at the start: its file is at the path kid={second}");
    assert_eq!(test.events().await, [withdrawn, (EventType::KeyActivated, detail)]);
    assert_eq!(test.states().await.len(), 2);
    assert_eq!(published(&test.services), [second]);
    assert!(matches!(test.verify(&agent.token), Err(VerifyError::UnknownKey { .. })));
    assert_eq!(read(&*test.ask(None).await)["to"].as_u64().unwrap(), cursor + 1, "followers receive the change");
}

#[tokio::test]
async fn restored_database_with_older_rows_keeps_tokens_of_present_key_valid() {
    let mut test = TestServices::new().await;
    test.services.ledger.record_time_now().await.unwrap();
    test.services.ledger.store.clone().close().await;
    let backup = fs::read(&test.config.db_path).unwrap();
    test.services = assemble(&test.config, &test.clock, 90).await;
    let [first, second] = rotate(&test.services).await;
    let agent = test.enrol("task", 60).await;
    test.services.ledger.store.clone().close().await;
    fs::write(&test.config.db_path, backup).unwrap();
    test.services = assemble(&test.config, &test.clock, 91).await;
    assert_eq!(published(&test.services), [second.as_str(), &first], "the former key's file is still there");
    assert!(test.verify(&agent.token).is_ok());
}

#[tokio::test]
async fn start_stops_at_damaged_file_of_active_key_and_at_ended_key_at_path() {
    let mut test = TestServices::new().await;
    let [first, second] = rotate(&test.services).await;
    let pem = fs::read(test.directory_of_keys().join(format!("{first}.pem"))).unwrap();
    let third = prepare(&test.services).await;
    test.services.ledger.store.clone().close().await;
    let start = async |test: &TestServices| {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(50));
        let store = Store::open(&test.config.db_path, StoreOptions::default()).unwrap();
        let opened = open_key_files(&store, &test.config.signing_key_path, &entropy).await;
        store.close().await;
        opened.unwrap_err().to_string()
    };
    let active = fs::read(&test.config.signing_key_path).unwrap();
    fs::write(&test.config.signing_key_path, "damaged").unwrap();
    assert!(start(&test).await.contains("holds no PEM block"));
    fs::write(&test.config.signing_key_path, active).unwrap();
    let file = test.directory_of_keys().join(format!("{third}.pem"));
    fs::remove_file(&file).unwrap();
    test.services = assemble(&test.config, &test.clock, 51).await;
    assert!(test.states().await.contains(&(third, KeyState::Withdrawn)), "its file was removed");
    end(&test.services, &first, KeyState::Withdrawn).await;
    test.services.ledger.store.clone().close().await;
    fs::write(&test.config.signing_key_path, &pem).unwrap();
    let rejected = start(&test).await;
    assert!(rejected.contains("was withdrawn, and the file of the active one is missing"), "{rejected}");
    assert_eq!(test.at_path(), first, "it was not replaced: {second} may be restored");
}

#[tokio::test]
async fn every_feed_response_names_published_keys_and_none_from_before_a_change_is_shared_after_it() {
    let test = TestServices::new().await;
    test.log(0..10).await;
    let first = test.services.issuer.ring().active.id().as_str().to_owned();
    for since in [None, Some(3)] {
        assert_eq!(announced(&read(&*test.ask(since).await)), (vec![first.clone()], first.clone()), "{since:?}");
    }
    // The clock stands still: responses of the same cursor would be shared.
    let second = prepare(&test.services).await;
    for since in [None, Some(3)] {
        let response = read(&*test.ask(since).await);
        assert_eq!(announced(&response), (vec![first.clone(), second.clone()], first.clone()), "{since:?}");
        assert_eq!(response["to"], 11);
    }
    activate(&test.services, &second).await;
    end(&test.services, &first, KeyState::Withdrawn).await;
    for since in [None, Some(3)] {
        let response = test.ask(since).await;
        assert_eq!(announced(&read(&response)), (vec![second.clone()], second.clone()), "{since:?}");
        assert_eq!(kid_of(&response.document.text()), second);
    }
}

#[tokio::test]
async fn page_of_store_and_part_of_memory_from_before_withdrawal_are_not_served_after_it() {
    let test = TestServices::new().await;
    test.log(0..LONG).await;
    let [first, second] = rotate(&test.services).await;
    for since in [7, LONG - 2000] {
        assert_eq!(announced(&read(&*test.ask(Some(since)).await)).0.len(), 2);
    }
    end(&test.services, &first, KeyState::Withdrawn).await;
    for since in [7, LONG - 2000] {
        assert_eq!(announced(&read(&*test.ask(Some(since)).await)).0, [second.as_str()], "since {since}");
    }
}

#[tokio::test]
async fn long_poll_is_answered_when_keys_change() {
    let test = TestServices::new().await;
    test.log(0..1).await;
    let feed = test.services.feed.clone();
    let waiting = tokio::spawn(async move { feed.since(Some(1), Duration::from_secs(25), CLIENT).await.unwrap() });
    while test.services.feed.followers() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    let second = prepare(&test.services).await;
    let response = read(&waiting.await.unwrap());
    assert_eq!((response["from"].as_u64(), response["to"].as_u64()), (Some(1), Some(2)));
    assert!(announced(&response).0.contains(&second));
    assert!(test.ask(Some(2)).now_or_never().is_some());
}
