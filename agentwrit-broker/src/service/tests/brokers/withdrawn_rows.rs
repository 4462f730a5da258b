//! Rows of signing keys that are put back as they were before a withdrawal.

use super::{
    super::keys::{activate, announced, end, kid_of, prepare, rotate},
    *,
};
use crate::{domain::KeyState, feed::KeyChangeError, issuer::KeyRing, store::KeysVersion};

/// Keeps the rows of the signing keys in the table `kept`.
const KEEP: &str = "CREATE TABLE kept AS SELECT * FROM signing_keys";

async fn announced_by(test: &Brokers, broker: usize) -> Vec<String> {
    announced(&read(&test.of(broker).feed.since(None, Duration::ZERO, CLIENT).await.unwrap())).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawn_key_stays_out_when_its_row_is_put_back() {
    let mut test = Brokers::start(&[0, 0]).await;
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(0, 0, &launch_token).await.unwrap();
    let withdrawn = kid_of(&token);
    let [_, active] = rotate(test.of(0)).await;
    test.schema.execute(KEEP);
    end(test.of(0), &withdrawn, KeyState::Withdrawn).await;
    // The role of the brokers may do this.
    test.schema.execute(
        "UPDATE signing_keys AS row SET sealed = kept.sealed, state = kept.state, retire_at = kept.retire_at, \
         changed_at = kept.changed_at, cursor = kept.cursor FROM kept WHERE kept.kid = row.kid",
    );
    let rejected = (StatusCode::OK, json!(false));
    for broker in [0, 1] {
        assert_eq!(test.validate(broker, &token).await, rejected);
    }
    // A change of other keys.
    let third = prepare(test.of(0)).await;
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    for broker in [0, 1, 2] {
        assert_eq!(test.validate(broker, &token).await, rejected, "broker {broker}");
        assert_eq!(announced_by(&test, broker).await, [active.clone(), third.clone()], "broker {broker}");
        let row = test.of(broker).keys.list().await.unwrap().keys.into_iter().find(|row| row.kid == withdrawn).unwrap();
        assert_eq!(row.state, KeyState::Withdrawn, "broker {broker}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retired_key_stays_out_when_its_row_is_put_back() {
    let mut test = Brokers::start(&[0]).await;
    let launch_token = test.launch_token(0, false).await;
    let retired = kid_of(&test.register(0, 0, &launch_token).await.unwrap());
    let [_, active] = rotate(test.of(0)).await;
    test.schema.execute(KEEP);
    end(test.of(0), &retired, KeyState::Retired).await;
    test.schema.execute(
        "UPDATE signing_keys AS row SET sealed = kept.sealed, state = kept.state, retire_at = kept.retire_at, \
         changed_at = kept.changed_at, cursor = kept.cursor FROM kept WHERE kept.kid = row.kid",
    );
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    for broker in [0, 1] {
        assert_eq!(announced_by(&test, broker).await, std::slice::from_ref(&active), "broker {broker}");
        let row = test.of(broker).keys.list().await.unwrap().keys.into_iter().find(|row| row.kid == retired).unwrap();
        assert_eq!(row.state, KeyState::Retired, "broker {broker}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_start_and_changes_when_table_of_keys_is_put_back() {
    let test = Brokers::start(&[0, 0]).await;
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(0, 0, &launch_token).await.unwrap();
    let (withdrawn, entropy) = (kid_of(&token), Arc::new(SeededEntropy::new(9)) as Arc<dyn Entropy>);
    // First with the withdrawn key as the active one, then with a key that was retiring.
    for is_withdrawn in [true, false] {
        test.schema.execute(KEEP);
        if is_withdrawn {
            let next = prepare(test.of(0)).await;
            activate(test.of(0), &next).await;
            end(test.of(0), &withdrawn, KeyState::Withdrawn).await;
        } else {
            rotate(test.of(0)).await;
        }
        let active = test.of(0).issuer.ring().active.id().as_str().to_owned();
        test.schema.execute(
            "CREATE TABLE present AS SELECT * FROM signing_keys; \
             BEGIN; DELETE FROM signing_keys; INSERT INTO signing_keys SELECT * FROM kept; COMMIT",
        );
        let rejected = test.start_error(&entropy).await;
        assert!(rejected.contains("agentwrit-broker withdraw-key"), "{rejected}");
        let change = test.of(0).ledger.store.clone();
        let feed = test.of(0).feed.clone();
        let changed = change.transact(move |tx| feed.change_keys(tx, tx.signing_keys()?)).await;
        assert!(
            matches!(&changed, Err(KeyChangeError::Custody(cause)) if cause.to_string().contains("withdraw-key")),
            "{changed:?}"
        );
        for broker in [0, 1] {
            assert_eq!(test.validate(broker, &token).await.1, json!(false), "broker {broker}");
            assert_eq!(test.of(broker).issuer.ring().active.id().as_str(), active, "broker {broker}");
        }
        test.schema.execute(
            "BEGIN; DELETE FROM signing_keys; INSERT INTO signing_keys SELECT * FROM present; COMMIT; \
             DROP TABLE kept; DROP TABLE present",
        );
        assert!(test.register(1, 0, &launch_token).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ring_never_returns_to_log_that_was_left_nor_to_key_that_was_withdrawn_in_it() {
    let test = Brokers::start(&[0]).await;
    let [first, second] = rotate(test.of(0)).await;
    let ring = test.of(0).issuer.current_ring();
    let store = &test.of(0).ledger.store;
    let rows = store.read(|reader| reader.signing_keys()).await.unwrap();
    let former = ring.ring();
    let version = |epoch: &str, cursor| KeysVersion { epoch: epoch.into(), cursor };
    let late = ring.prepare(&rows, version(&former.version.epoch, former.version.cursor)).unwrap();
    end(test.of(0), &first, KeyState::Withdrawn).await;
    // The lost log held the withdrawal, another one does not.
    ring.replace(ring.prepare(&rows, version("another", former.version.cursor)).unwrap());
    let ids = |ring: &KeyRing| ring.published.iter().map(|key| key.id().as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!((ids(&ring.ring()), &*ring.ring().version.epoch), (vec![second], "another"));
    // A reading, or a commit, of the former log from before the other one was begun.
    ring.replace(late);
    assert_eq!(&*ring.ring().version.epoch, "another");
}
