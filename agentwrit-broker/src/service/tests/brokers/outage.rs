//! A broker that cannot reach the database.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_without_database_neither_judges_tokens_nor_signs_feed() {
    let mut test = Brokers::start(&[0]).await;
    let link = Link::new(LinkState::Up);
    test.add_through(&link).await;
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(1, 0, &launch_token).await.unwrap();
    let admin = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    assert!(test.judge(1, &token).await.is_ok());
    for state in [LinkState::Down, LinkState::Silent] {
        link.state.send_replace(state);
        let unavailable = |error: &StoreError| matches!(error, StoreError::Unavailable { .. });
        // A reading may have been made before the connection ended.
        let fails = async { while test.of(1).ledger.confirm().await.is_ok() {} };
        timeout(Duration::from_secs(30), fails).await.unwrap();
        for since in [None, Some(0), Some(1)] {
            let rejected = test.of(1).feed.since(since, Duration::ZERO, CLIENT).await;
            assert!(matches!(rejected, Err(FeedUnavailable::Store(error)) if unavailable(&error)));
        }
        let unavailable = (StatusCode::SERVICE_UNAVAILABLE, Value::Null);
        assert_eq!((test.list_launch_tokens(1, &admin).await, Value::Null), unavailable);
        assert_eq!(test.validate(1, &token).await, unavailable);
        link.state.send_replace(LinkState::Down);
        link.state.send_replace(LinkState::Up);
        let recovers = async { while test.of(1).ledger.confirm().await.is_err() {} };
        timeout(Duration::from_secs(30), recovers).await.unwrap();
        assert!(test.judge(1, &token).await.is_ok());
    }
}

/// A role that may change the head row has no other way to take revocations out of the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_rejects_head_row_that_is_behind_last_revocation() {
    let test = Brokers::start(&[0, 0]).await;
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(0, 0, &launch_token).await.unwrap();
    test.revoke(0, Level::Task, "task").await;
    assert_eq!(test.validate(1, &token).await, (StatusCode::OK, json!(false)));
    let valid = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    test.schema.execute("UPDATE head SET cursor = 0, epoch = 'deadbeefdeadbeef'");
    for broker in [0, 1] {
        assert_eq!(test.validate(broker, &token).await, (StatusCode::OK, json!(false)));
        assert_eq!(test.validate(broker, &valid).await, (StatusCode::SERVICE_UNAVAILABLE, Value::Null));
    }
}
