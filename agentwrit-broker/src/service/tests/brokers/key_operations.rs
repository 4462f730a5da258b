//! Changes of the signing keys count at all brokers at once, and brokers that act at the same time act once.

use std::{collections::BTreeSet, process::Command};

use super::{
    super::{
        key_operations::{author, kid_of},
        withdrawn_bearer::rejects_requests_begun_before_withdrawal,
    },
    *,
};
use crate::{
    audit::EventType,
    domain::{KeyState, StoredKey},
    service::keys::{KeyChange, KeyError, KeyOperation},
    store::LostHistoryOptions,
};

impl Brokers {
    async fn change(&self, broker: usize, operation: KeyOperation) -> Result<KeyChange, Error> {
        self.running[broker % self.running.len()].keys.change(operation, author(None)).await
    }

    async fn force(&self, broker: usize, kid: &str) -> Result<KeyChange, Error> {
        self.change(broker, KeyOperation::Activate { kid: kid.to_owned(), force: true }).await
    }

    async fn withdraw(&self, broker: usize, kid: &str) -> Result<KeyChange, Error> {
        self.change(broker, KeyOperation::Withdraw { kid: kid.to_owned() }).await
    }

    async fn list_keys(&self, broker: usize) -> Vec<StoredKey> {
        self.of(broker).keys.list().await.unwrap().keys
    }

    async fn active_kid(&self) -> String {
        let keys = self.list_keys(0).await;
        let active: Vec<&StoredKey> = keys.iter().filter(|key| key.state == KeyState::Active).collect();
        let [active] = active.as_slice() else { panic!("one active key: {keys:?}") };
        active.kid.clone()
    }

    async fn key_events(&self) -> Vec<EventType> {
        let events = self.of(0).ledger.store.read(|reader| Ok::<_, Error>(reader.audit_events_after(0, 10_000)?));
        let types = events.await.unwrap().into_iter().map(|event| event.event_type);
        types.filter(|event_type| event_type.as_str().starts_with("key_")).collect()
    }
}

/// The runtime role may change rows of keys: a thief of the active key with its rights can't prevent the withdrawal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdraws_active_key_and_starts_while_rows_of_other_keys_do_not_open() {
    let mut test = Brokers::start(&[0, 0]).await;
    let token = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let retiring = kid_of(&token);
    let leaked = test.change(0, KeyOperation::Prepare).await.unwrap().key.kid;
    test.force(0, &leaked).await.unwrap();
    let stolen = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let prepared = test.change(1, KeyOperation::Prepare).await.unwrap().key.kid;
    for kid in [&retiring, &prepared] {
        test.schema.execute(&format!("UPDATE signing_keys SET retire_at = 1 WHERE kid = '{kid}'"));
    }
    let rotation = test.change(1, KeyOperation::Rotate).await.unwrap().key.kid;
    assert_ne!(rotation, prepared);
    test.withdraw(1, &rotation).await.unwrap();
    let rejected = test.force(0, &prepared).await.unwrap_err();
    assert!(matches!(&rejected, Error::Key(KeyError::Unusable { cause }) if cause.contains(&prepared)), "{rejected:?}");

    test.withdraw(1, &leaked).await.unwrap();
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    for broker in 0..3 {
        assert_eq!(test.validate(broker, &stolen).await, (StatusCode::OK, json!(false)), "{broker}");
        // The key in a row that does not open may be any key.
        assert_eq!(test.validate(broker, &token).await, (StatusCode::OK, json!(false)), "{broker}");
        let listed = test.of(broker).keys.list().await.unwrap();
        let unusable: BTreeSet<&String> = listed.unusable.iter().map(|key| &key.kid).collect();
        assert_eq!(unusable, BTreeSet::from([&retiring, &prepared]), "{broker}");
        let token = test.of(broker).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
        assert_eq!(test.list_launch_tokens(broker + 1, &token).await, StatusCode::OK);
    }
    for kid in [&retiring, &prepared] {
        test.withdraw(2, kid).await.unwrap();
    }
    assert!(test.of(0).keys.list().await.unwrap().unusable.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_key_withdrawn_at_one_broker_is_rejected_by_the_others_at_once() {
    let test = Brokers::start(&[0, 0, 0]).await;
    for round in 0..20 {
        let token = test.of(round).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
        let other = round + 1;
        assert_eq!(test.list_launch_tokens(other, &token).await, StatusCode::OK);
        test.withdraw(round, &kid_of(&token)).await.unwrap();
        let verdict = tokio::join!(test.list_launch_tokens(other, &token), test.validate(round + 2, &token));
        assert_eq!(verdict, (StatusCode::UNAUTHORIZED, (StatusCode::OK, json!(false))), "round {round}");
        let active = test.active_kid().await;
        for broker in 0..3 {
            let token = test.of(broker).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
            assert_eq!(kid_of(&token), active, "round {round}");
            assert_eq!(test.validate(broker + 1, &token).await, (StatusCode::OK, json!(true)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_during_activations_at_other_brokers_yield_valid_tokens() {
    let test = Arc::new(Brokers::start(&[0, 0, 0]).await);
    let launch_token = Arc::new(test.launch_token(0, false).await);
    let mut kids = BTreeSet::new();
    for round in 0..20 {
        let kid = test.change(round, KeyOperation::Prepare).await.unwrap().key.kid;
        let (activated, first, second, third) = tokio::join!(
            test.force(round, &kid),
            test.register(round, 0, &launch_token),
            test.register(round + 1, 0, &launch_token),
            test.register(round + 2, 0, &launch_token),
        );
        activated.unwrap();
        for token in [first.unwrap(), second.unwrap(), third.unwrap()] {
            kids.insert(kid_of(&token));
            for broker in 0..3 {
                assert_eq!(test.validate(broker, &token).await, (StatusCode::OK, json!(true)), "round {round}");
            }
        }
        assert_eq!(test.active_kid().await, kid);
    }
    assert!(kids.len() > 10, "tokens of {} keys", kids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_rotate_at_once_begin_one_rotation() {
    let test = Brokers::start(&[0, 0, 0]).await;
    let (first, second, third) = tokio::join!(
        test.change(0, KeyOperation::Rotate),
        test.change(1, KeyOperation::Rotate),
        test.change(2, KeyOperation::Rotate)
    );
    let kids = [first.unwrap().key.kid, second.unwrap().key.kid, third.unwrap().key.kid];
    assert!(kids.iter().all(|kid| *kid == kids[0]), "{kids:?}");
    assert_eq!(test.key_events().await, [EventType::KeyPrepared]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_withdraw_active_key_at_once_leave_one_active() {
    let test = Brokers::start(&[0, 0, 0]).await;
    for round in 0..10 {
        let (kid, before) = (test.active_kid().await, test.key_events().await.len());
        let outcomes = tokio::join!(test.withdraw(0, &kid), test.withdraw(1, &kid), test.withdraw(2, &kid));
        for outcome in [outcomes.0, outcomes.1, outcomes.2] {
            assert_eq!(outcome.unwrap().key.state, KeyState::Withdrawn);
        }
        assert_ne!(test.active_kid().await, kid);
        let events = test.key_events().await.split_off(before);
        assert_eq!(events, [EventType::KeyWithdrawn, EventType::KeyActivated], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawal_during_rotation_activates_its_key_or_ends_it() {
    let test = Brokers::start(&[0, 0]).await;
    let first = test.active_kid().await;
    let second = test.change(0, KeyOperation::Rotate).await.unwrap().key.kid;
    // The active key leaks: the key of the rotation signs at once.
    test.withdraw(1, &first).await.unwrap();
    assert_eq!(test.active_kid().await, second);
    // The key of a rotation leaks: there is none any more.
    let third = test.change(0, KeyOperation::Rotate).await.unwrap().key.kid;
    test.withdraw(1, &third).await.unwrap();
    assert_eq!(test.active_kid().await, second);
    let fourth = test.change(0, KeyOperation::Rotate).await.unwrap().key.kid;
    assert!(![first, second, third].contains(&fourth));
    for broker in 0..2 {
        test.running[broker].keys.run_due().await.unwrap();
    }
    assert_eq!(test.list_keys(1).await.iter().filter(|key| key.state.is_published()).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_begun_before_withdrawal_at_another_broker_is_rejected_when_its_body_arrives() {
    let test = Brokers::start(&[0, 0]).await;
    rejects_requests_begun_before_withdrawal(&test.running[0], &test.running[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdraws_any_key_while_row_of_active_key_does_not_open() {
    for change in ["created_at = created_at + 1", "state = 'retired'", "state = 'withdrawn'", "cursor = 0"] {
        for is_active_withdrawn in [false, true] {
            let test = Brokers::start(&[0, 0]).await;
            let first = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
            let next = test.change(0, KeyOperation::Prepare).await.unwrap().key.kid;
            test.force(0, &next).await.unwrap();
            let second = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
            assert_eq!(kid_of(&second), next);
            let stolen = if is_active_withdrawn { second } else { first };
            assert_eq!(test.validate(1, &stolen).await, (StatusCode::OK, json!(true)));
            test.schema.execute(&format!("UPDATE signing_keys SET {change} WHERE kid = '{next}'"));
            test.withdraw(0, &kid_of(&stolen)).await.unwrap();
            for broker in 0..2 {
                let message = format!("{change}, active: {is_active_withdrawn}, broker {broker}");
                assert_eq!(test.validate(broker, &stolen).await, (StatusCode::OK, json!(false)), "{message}");
                let token = test.of(broker).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
                assert_eq!(test.list_launch_tokens(broker + 1, &token).await, StatusCode::OK, "{message}");
            }
        }
    }
}

/// The thief of a key has its row of when it was active, which opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdraws_any_key_while_row_of_former_active_key_was_put_back() {
    for is_active_withdrawn in [false, true] {
        let mut test = Brokers::start(&[0, 0]).await;
        let stolen = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
        let former = kid_of(&stolen);
        test.schema.execute("CREATE TABLE kept AS SELECT * FROM signing_keys WHERE purpose = 'token'");
        let next = test.change(0, KeyOperation::Prepare).await.unwrap().key.kid;
        test.force(0, &next).await.unwrap();
        test.schema.execute(
            "UPDATE signing_keys AS row SET sealed = kept.sealed, state = kept.state, activated_at = kept.activated_at, \
             retire_at = kept.retire_at, changed_at = kept.changed_at, cursor = kept.cursor FROM kept WHERE kept.kid = row.kid",
        );
        let listed = test.of(1).keys.list().await.unwrap().unusable;
        assert_eq!(listed.iter().map(|key| &key.kid).collect::<Vec<_>>(), [&former], "the key in force is usable");
        let withdrawn = if is_active_withdrawn { &next } else { &former };
        assert_eq!(test.withdraw(0, withdrawn).await.unwrap().key.state, KeyState::Withdrawn);
        let store = test.schema.open(StoreOptions::default());
        test.add(store).await;
        for broker in 0..3 {
            assert_eq!(test.validate(broker, &stolen).await, (StatusCode::OK, json!(false)), "broker {broker}");
        }
        let active = test.active_kid().await;
        assert_eq!(active == next, !is_active_withdrawn);
        assert_ne!(active, former);
        let states = test.list_keys(0).await;
        let state = states.iter().find(|key| key.kid == former).map(|key| key.state);
        assert_eq!(state, Some(KeyState::Withdrawn), "the key whose row was put back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_sign_on_with_key_in_force_when_row_of_former_one_is_put_back_and_keys_change() {
    let test = Brokers::start(&[0, 0]).await;
    let former = test.active_kid().await;
    test.schema.execute("CREATE TABLE kept AS SELECT * FROM signing_keys WHERE purpose = 'token'");
    let next = test.change(0, KeyOperation::Prepare).await.unwrap().key.kid;
    test.force(0, &next).await.unwrap();
    test.schema.execute(
        "DELETE FROM signing_keys WHERE kid IN (SELECT kid FROM kept); INSERT INTO signing_keys SELECT * FROM kept",
    );
    test.change(0, KeyOperation::Prepare).await.unwrap();
    for broker in 0..2 {
        let token = test.of(broker).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
        assert_eq!(kid_of(&token), next, "broker {broker}");
        assert_eq!(test.list_launch_tokens(broker + 1, &token).await, StatusCode::OK, "broker {broker}");
        let published = test.of(broker).issuer.ring().published.clone();
        assert!(published.iter().all(|key| key.id().as_str() != former), "broker {broker}");
    }
}

/// A pipe without a reader in the place of the temporary file stands for a disk that does not respond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responds_to_withdrawal_with_warning_while_disk_of_state_file_hangs() {
    let mut test = Brokers::start(&[0]).await;
    let directory = TempDir::new().unwrap();
    let pipe = directory.path().join(".broker.state.new");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let state_path = Some(directory.path().join("broker.state"));
    let lost_history = LostHistoryOptions { state_path, ..LostHistoryOptions::default() };
    let store = test.schema.open(StoreOptions { lost_history, ..StoreOptions::default() });
    test.add(store).await;
    let withdraw = async |token: &str| {
        let withdraw = Request::post(format!("/v1/admin/keys/{}/withdraw", kid_of(token)));
        let withdraw = withdraw.header("authorization", format!("Bearer {token}"));
        timeout(Duration::from_secs(20), test.request(1, withdraw, "{}".to_owned())).await.unwrap()
    };
    let login = async || test.of(1).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let health = async || test.request(1, Request::get("/v1/health"), String::new()).await.1["warnings"].clone();
    let hangs = json!(["state_file_not_written"]);
    for _ in 0..3 {
        let token = login().await;
        let (status, body) = withdraw(&token).await;
        assert_eq!((status, &body["state"], &body["warnings"]), (StatusCode::OK, &json!("withdrawn"), &hangs));
        assert_eq!(test.validate(0, &token).await, (StatusCode::OK, json!(false)));
        assert_eq!(health().await, hangs);
    }
    // The disk responds again.
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    std::fs::remove_file(&pipe).unwrap();
    while health().await == hangs {
        login().await;
    }
    let (status, body) = withdraw(&login().await).await;
    assert_eq!((status, body.get("warnings")), (StatusCode::OK, None));
    test.of(1).ledger.store.clone().close().await;
}
