//! Budgets after a failed commit: what it would have drawn is given back before the client has its response.

use super::*;
use crate::limits::budgets::Budget;

/// Makes each later transaction that appends to the audit trail fail, at its commit.
pub(super) const FAIL_COMMITS: &str = "
    CREATE TABLE targets (id INTEGER PRIMARY KEY);
    CREATE TABLE dangling (id INTEGER REFERENCES targets (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER fail_commit AFTER INSERT ON audit_events BEGIN INSERT INTO dangling VALUES (1); END;
";
pub(super) const COMMIT_AGAIN: &str = "DROP TRIGGER fail_commit; DROP TABLE dangling; DROP TABLE targets;";

/// Runs an operation `attempts` times while each commit fails, and then once more.
async fn succeeds_after_failed_commits<T: std::fmt::Debug>(
    test: &TestServices,
    attempts: usize,
    operation: impl AsyncFn() -> Result<T, Error>,
) {
    let store = &test.services.ledger.store;
    store.transact(|tx| tx.execute_batch(FAIL_COMMITS)).await.unwrap();
    for attempt in 0..attempts {
        let failed = operation().await.unwrap_err();
        assert!(matches!(failed, Error::Store(_)), "attempt {attempt}: {failed:?}");
    }
    store.transact(|tx| tx.execute_batch(COMMIT_AGAIN)).await.unwrap();
    operation().await.unwrap();
}

#[tokio::test]
async fn failed_commit_draws_nothing_from_session_budgets() {
    let test = TestServices::with_budget(Some(SessionBudget { at_once: 1, per_second: 1 })).await;
    let (agent, helper) = (test.enrol("task", 3600).await, test.enrol("task", 3600).await);
    let claims = test.bearer(&agent.token);
    succeeds_after_failed_commits(&test, 6, async || test.delegate(&claims, &helper, 60).await).await;
    for _ in 0..4 {
        test.delegate(&claims, &helper, 60).await.unwrap();
    }
    let rejected = test.delegate(&claims, &helper, 60).await.unwrap_err();
    assert!(matches!(rejected, Error::OverBudget { budget: Budget::Delegations, .. }), "{rejected:?}");
    succeeds_after_failed_commits(&test, 2, async || test.renew(&claims).await).await;
}

#[tokio::test]
async fn failed_commit_draws_nothing_from_budgets_of_app_and_launch_token() {
    let test = TestServices::new().await;
    let (app, _) = test.create_app().await;
    let mint = async || test.issue_launch_token(Subject::App(app.app_id.clone()), false).await;
    succeeds_after_failed_commits(&test, 501, mint).await;
    let launch_token = mint().await.unwrap();
    succeeds_after_failed_commits(&test, 501, async || test.register(&launch_token, "task").await).await;
}

#[tokio::test]
async fn failed_commit_draws_nothing_from_budgets_of_logins() {
    let test = TestServices::new().await;
    let (app, secret) = test.create_app().await;
    let log_in = async || {
        let secret = Secret::new(secret.expose().to_owned());
        test.services.logins.authenticate_app(CLIENT, app.client_id.clone(), secret).await
    };
    succeeds_after_failed_commits(&test, 11, log_in).await;
    let log_in = async || test.services.logins.authenticate_admin(CLIENT, Secret::new(ADMIN_SECRET.to_owned())).await;
    succeeds_after_failed_commits(&test, 101, log_in).await;
}
