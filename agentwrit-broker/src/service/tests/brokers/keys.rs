//! Changes of the keys at one broker count at all of them at once.

use data_encoding::BASE64URL_NOPAD;

use super::{
    super::keys::{activate, announced, end, kid_of, prepare, rotate},
    *,
};
use crate::{
    domain::KeyState,
    issuer::{Grant, RecordedDraft},
};

async fn key_set(test: &Brokers, broker: usize) -> Vec<String> {
    let (status, body) = test.request(broker, Request::get("/.well-known/jwks.json"), String::new()).await;
    assert_eq!(status, StatusCode::OK);
    let keys = body["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_at_one_broker_is_in_force_at_the_others_at_once_and_refuses_no_token() {
    let mut test = Brokers::start(&[0, -30, 30]).await;
    // Learns last of what the others commit.
    let slow = Link::new(LinkState::Slow(Duration::from_millis(10)));
    test.add_through(&slow).await;
    let launch_token = test.launch_token(0, false).await;
    for round in 0..20 {
        let before = test.register(round + 1, round, &launch_token).await.unwrap();
        let prepared = prepare(test.of(round)).await;
        for other in round..round + 4 {
            assert!(key_set(&test, other).await.contains(&prepared), "round {round}");
            let feed = test.of(other).feed.since(Some(1), Duration::ZERO, CLIENT).await.unwrap();
            assert!(announced(&read(&feed)).0.contains(&prepared), "round {round}");
        }
        let former = kid_of(&before);
        activate(test.of(round + 2), &prepared).await;
        let after = test.register(round + 3, round, &launch_token).await.unwrap();
        assert_eq!(kid_of(&after), prepared, "round {round}");
        for other in round..round + 4 {
            assert!(test.judge(other, &before).await.is_ok() && test.judge(other, &after).await.is_ok());
        }
        end(test.of(round + 1), &former, KeyState::Withdrawn).await;
        for other in round..round + 4 {
            assert_eq!(test.validate(other, &before).await, (StatusCode::OK, json!(false)), "round {round}");
            assert_eq!(test.validate(other, &after).await, (StatusCode::OK, json!(true)), "round {round}");
            assert_eq!(key_set(&test, other).await, [prepared.as_str()]);
            let feed = test.of(other).feed.since(None, Duration::ZERO, CLIENT).await.unwrap();
            assert_eq!(announced(&read(&feed)), (vec![prepared.clone()], prepared.clone()), "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_key_set_cause_no_reading_of_the_database() {
    let test = Brokers::start(&[0]).await;
    let store = &test.of(0).ledger.store;
    let (before, begun) = (store.readings(), Instant::now());
    for _ in 0..40 {
        assert_eq!(key_set(&test, 0).await.len(), 1);
    }
    // One in 50 ms and, for a commit of the time, one in a second: as many as without requests.
    let (readings, anyway) = (store.readings() - before, begun.elapsed().as_millis() * 21 / 1000 + 3);
    assert!(u128::from(readings) <= anyway, "{readings} readings in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_is_signed_with_key_that_was_active_in_its_transaction() {
    let test = Brokers::start(&[0, 0]).await;
    let issuer = Arc::clone(&test.of(0).issuer);
    let grant = Grant {
        subject: Subject::Admin,
        scope: ScopeSet::parse([SCOPE]).unwrap(),
        ttl: 60,
        app_id: None,
        task_id: None,
        orch_id: None,
    };
    let recorded: RecordedDraft = test
        .of(0)
        .ledger
        .transact(move |tx| Ok::<_, Error>(issuer.insert(tx, issuer.draft(grant, tx.now()))?))
        .await
        .unwrap();
    let [former, next] = rotate(test.of(1)).await;
    test.of(0).ledger.confirm().await.unwrap();
    assert_eq!(test.of(0).issuer.ring().active.id().as_str(), next);
    let token = test.of(0).issuer.sign(&recorded).access_token;
    assert_eq!(kid_of(&token), former, "the version under the lock, whose last expiry the rotation has seen");
    assert!(test.judge(1, &token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_poll_at_another_broker_is_answered_when_key_is_withdrawn() {
    let test = Brokers::start(&[0, 0]).await;
    let [former, next] = rotate(test.of(0)).await;
    let feed = test.of(1).feed.clone();
    let waiting = tokio::spawn(async move { feed.since(Some(2), Duration::from_secs(25), CLIENT).await.unwrap() });
    while test.of(1).feed.followers() == 0 {
        tokio::task::yield_now().await;
    }
    end(test.of(0), &former, KeyState::Withdrawn).await;
    let response = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(announced(&read(&response)).0, [next]);
    assert_eq!(read(&response)["to"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_refuse_service_when_row_of_a_key_was_changed_in_the_database() {
    let test = Brokers::start(&[0, 0]).await;
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(0, 0, &launch_token).await.unwrap();
    let former = kid_of(&token);
    let next = prepare(test.of(0)).await;
    activate(test.of(0), &next).await;
    end(test.of(0), &former, KeyState::Withdrawn).await;
    for change in [
        "UPDATE signing_keys SET state = 'withdrawn' WHERE state = 'active'",
        "UPDATE signing_keys SET state = 'retired' WHERE state = 'active'",
        "UPDATE signing_keys SET created_at = created_at + 1",
    ] {
        let before =
            "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM signing_keys WHERE purpose = 'token'";
        test.schema.execute(before);
        // Has the brokers read the rows again.
        test.schema.execute(&format!("BEGIN; {change}; UPDATE head SET keys_cursor = keys_cursor - 1; COMMIT"));
        for broker in [0, 1] {
            let unavailable = (StatusCode::SERVICE_UNAVAILABLE, Value::Null);
            assert_eq!(test.validate(broker, &token).await, unavailable, "{change}");
            let rejected = test.of(broker).feed.since(None, Duration::ZERO, CLIENT).await;
            assert!(matches!(rejected, Err(FeedUnavailable::Store(StoreError::Unavailable { .. }))), "{change}");
            let status = test.request(broker, Request::get("/.well-known/jwks.json"), String::new()).await.0;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{change}");
        }
        let rows = test.of(0).ledger.store.read(|reader| reader.signing_keys()).await.unwrap();
        let sealed = SealedKeys::new(test_kek(1), &test.config.issuer);
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(9));
        assert!(BrokerKeys::from_rows(sealed, &rows, 0, entropy).is_err(), "a start is rejected, too: {change}");
        test.schema.execute("DELETE FROM signing_keys WHERE purpose = 'token'");
        test.schema.execute("INSERT INTO signing_keys SELECT * FROM kept; DROP TABLE kept");
        for broker in [0, 1] {
            let recovers = async { while test.of(broker).ledger.confirm().await.is_err() {} };
            timeout(Duration::from_secs(10), recovers).await.unwrap();
            assert_eq!(test.of(broker).issuer.ring().active.id().as_str(), next);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delegation_chain_of_withdrawn_key_is_rejected() {
    let test = Brokers::start(&[0]).await;
    let services = test.of(0);
    let launch_token = test.launch_token(0, false).await;
    let delegator = services.verifier.verify_token(&test.register(0, 0, &launch_token).await.unwrap()).unwrap();
    let delegate = services.verifier.verify(&test.register(0, 0, &launch_token).await.unwrap()).unwrap();
    let scope = ScopeSet::parse([SCOPE]).unwrap();
    let delegate_to = delegate.agent_id().unwrap().clone();
    let delegation = DelegationRequest { delegate_to, scope, ttl: Some(60) };
    let delegated = services.delegations.delegate(delegator.into(), delegation, CLIENT).await.unwrap().0.access_token;
    let [former, next] = rotate(services).await;
    // The token itself is signed anew, its chain is not.
    let bearer = services.verifier.verify_token(&delegated).unwrap().into();
    let renewed = services.tokens.renew(bearer, CLIENT).await.unwrap();
    let renewed = renewed.access_token;
    assert_eq!(kid_of(&renewed), next);
    for _ in 0..3 {
        assert!(services.verifier.verify(&renewed).is_ok(), "also from the cache of the verifier");
    }
    end(services, &former, KeyState::Withdrawn).await;
    let payload = BASE64URL_NOPAD.decode(renewed.split('.').nth(1).unwrap().as_bytes()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["delegation_chain"].as_array().unwrap().len(), 1);
    assert!(services.verifier.verify(&renewed).is_err());
    assert_eq!(test.validate(0, &renewed).await, (StatusCode::OK, json!(false)));
}
