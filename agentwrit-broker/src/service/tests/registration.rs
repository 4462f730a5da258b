//! Registration: what it reads before its transaction.

use std::sync::Barrier;

use agentwrit_protocol::AppStatus;

use super::*;
use crate::domain::LaunchTokenId;

/// Connections that read, by [`StoreOptions::default`].
const READERS: usize = 2;

#[tokio::test]
async fn registers_with_new_launch_token_while_all_reads_are_busy() {
    let test = TestServices::new().await;
    let launch_token = test.launch_token("task", 60, true).await;
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let end = Arc::new(Barrier::new(READERS + 1));
    for _ in 0..READERS {
        let (store, started, end) = (test.services.ledger.store.clone(), started.clone(), Arc::clone(&end));
        tokio::spawn(async move {
            let busy = store.read(move |_| {
                started.send(()).unwrap();
                end.wait();
                Ok::<_, Error>(())
            });
            busy.await.unwrap();
        });
    }
    for _ in 0..READERS {
        starts.recv().await.unwrap();
    }
    let registered = tokio::time::timeout(Duration::from_secs(30), test.register(&launch_token, "task")).await;
    end.wait();
    test.verify(&registered.unwrap().unwrap().token).unwrap();
    assert_eq!(test.register(&launch_token, "task").await.unwrap_err(), Error::LaunchTokenConsumed);
}

#[tokio::test]
async fn rejects_new_launch_token_of_app_that_was_suspended_since() {
    let test = TestServices::new().await;
    let (app, _) = test.create_app().await;
    let launch_token = test.issue_launch_token(Subject::App(app.app_id.clone()), true).await.unwrap();
    let suspended = test.services.apps.set_status(None, app.app_id, AppStatus::Suspended, CLIENT);
    suspended.await.unwrap();
    assert_eq!(test.register(&launch_token, "task").await.unwrap_err(), Error::LaunchTokenUnknown);
}

#[tokio::test]
async fn rejected_registration_does_not_use_new_launch_token() {
    let test = TestServices::new().await;
    let launch_token = test.launch_token("task", 60, true).await;
    let mut registration = test.registration(&launch_token, "task");
    registration.nonce = Presented::WellFormed(Hex([7; 32]));
    let rejected = test.services.registrations.register(registration, None, CLIENT).await.unwrap_err();
    assert_eq!(rejected, Error::NonceUnknown);
    test.register(&launch_token, "task").await.unwrap();
}

#[tokio::test]
async fn issues_launch_token_with_another_id_when_its_id_exists() {
    let test = TestServices::new().await;
    let issue = || test.services.launch_tokens.issue(Subject::Admin, None, launch_policy(true), CLIENT);
    let (taken, free) = (issue().await.unwrap().0.id, LaunchTokenId::from_bytes([7; 8]));
    let service = Arc::clone(&test.services.launch_tokens);
    let ids = test.services.ledger.transact(move |tx| Ok::<_, Error>([taken, free].map(|id| service.free_id(tx, id))));
    let [other, unchanged] = ids.await.unwrap().map(Result::unwrap);
    assert_ne!(other, taken);
    assert_eq!(unchanged, free);
}
