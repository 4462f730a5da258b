//! Revocations, launch tokens and nonces count at all brokers at once.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_at_one_broker_is_known_to_the_others_at_once() {
    let test = Brokers::start(&[0, -30, 30]).await;
    let launch_token = test.launch_token(0, false).await;
    for round in 0..1000 {
        let token = test.register(round, round + 1, &launch_token).await.unwrap();
        let claims = test.judge(round + 1, &token).await.unwrap();
        assert!(test.revoke(round + 1, Level::Token, claims.token_id()).await.revoked);
        for other in [round + 2, round, round + 1] {
            let verdict = test.judge(other, &token).await;
            assert!(matches!(verdict, Err(VerifyError::Revoked { .. })), "round {round}: {verdict:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bearer_check_and_validation_of_another_broker_see_revocation_at_once() {
    let test = Brokers::start(&[0, 0]).await;
    for round in 0..50 {
        let token = test.of(round).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
        let other = round + 1;
        assert_eq!(test.list_launch_tokens(other, &token).await, StatusCode::OK);
        assert_eq!(test.validate(other, &token).await, (StatusCode::OK, json!(true)));
        let claims = test.of(round).verifier.verify(&token).unwrap();
        test.revoke(round, Level::Token, claims.token_id()).await;
        let verdict = tokio::join!(test.list_launch_tokens(other, &token), test.validate(other, &token));
        assert_eq!(verdict, (StatusCode::UNAUTHORIZED, (StatusCode::OK, json!(false))), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn launch_token_and_nonce_count_once_at_all_brokers() {
    let test = Arc::new(Brokers::start(&[0, 30]).await);
    for _ in 0..20 {
        let single = test.launch_token(0, true).await;
        let outcomes = tokio::join!(test.register(0, 1, &single), test.register(1, 0, &single));
        assert!(matches!(
            outcomes,
            (Ok(_), Err(Error::LaunchTokenConsumed)) | (Err(Error::LaunchTokenConsumed), Ok(_))
        ));
    }
    let launch_token = test.launch_token(0, false).await;
    for _ in 0..20 {
        let (first, second) = (registration(test.of(0), &launch_token), test.of(1));
        let outcomes = tokio::join!(
            test.of(0).registrations.register(first.clone(), None, CLIENT),
            second.registrations.register(first, None, CLIENT)
        );
        assert!(matches!(outcomes, (Ok(_), Err(Error::NonceSpent)) | (Err(Error::NonceSpent), Ok(_))), "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_run_counts_what_revocation_at_another_broker_ends() {
    let test = Brokers::start(&[0, 0]).await;
    let launch_token = test.launch_token(0, false).await;
    let tokens = [test.register(0, 0, &launch_token).await.unwrap(), test.register(1, 1, &launch_token).await.unwrap()];
    let counted = test.request_revocation(0, Level::Task, "task", true).await;
    assert_eq!((counted.ended, counted.agents, counted.tasks), (Revoked { revoked: true, count: 2 }, 2, 1));
    for token in &tokens {
        assert_eq!(test.validate(1, token).await, (StatusCode::OK, json!(true)));
    }
    let done = test.request_revocation(1, Level::Task, "task", false).await;
    assert_eq!((done.ended, done.agents, done.tasks), (counted.ended, counted.agents, counted.tasks));
    assert_eq!(done.cursor.position(), counted.cursor.position() + 1, "the dry run wrote no entry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_that_is_invalid_anyway_is_rejected_without_database() {
    let mut test = Brokers::start(&[0]).await;
    let link = Link::new(LinkState::Up);
    test.add_through(&link).await;
    let admin = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let (signed, _) = admin.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    link.state.send_replace(LinkState::Down);
    while test.of(1).ledger.confirm().await.is_ok() {}
    for token in ["x.y.z", &forged] {
        assert_eq!(test.list_launch_tokens(1, token).await, StatusCode::UNAUTHORIZED, "{token}");
        assert_eq!(test.validate(1, token).await, (StatusCode::OK, json!(false)), "{token}");
    }
    assert_eq!(test.list_launch_tokens(1, &admin).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(test.validate(1, &admin).await.0, StatusCode::SERVICE_UNAVAILABLE);
}
