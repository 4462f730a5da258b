//! Changes between the verification of an assertion and the commit of its registration.

use super::*;

impl Attesting {
    /// Makes all checks of a registration before its transaction.
    async fn prepared(&self, assertion: &Secret) -> (Arc<Registration>, Prepared) {
        let request = registration(self.services(), assertion);
        self.services().registrations.check(request, None).await.unwrap()
    }

    async fn commit(&self, (registration, prepared): (Arc<Registration>, Prepared)) -> Result<AgentId, Error> {
        Ok(self.services().registrations.commit(registration, prepared, CLIENT).await?.0)
    }
}

#[tokio::test]
async fn one_of_racing_registrations_with_one_assertion_wins() {
    let attesting = Attesting::new().await;
    let assertion = attesting.assertion("1");
    let mut prepared = Vec::new();
    for _ in 0..8 {
        prepared.push(attesting.prepared(&assertion).await);
    }
    let outcomes = futures_util::future::join_all(prepared.into_iter().map(|one| attesting.commit(one))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(reason(outcome), "assertion_used");
    }
}

#[tokio::test]
async fn rejects_assertion_whose_rule_was_removed_before_commit() {
    let attesting = Attesting::new().await;
    let prepared = attesting.prepared(&attesting.assertion("1")).await;
    attesting.remove_rule().await;
    assert_eq!(reason(attesting.commit(prepared).await), "rule_removed");
}

#[tokio::test]
async fn rejects_assertion_whose_rule_was_replaced_before_commit() {
    let attesting = Attesting::new().await;
    let prepared = attesting.prepared(&attesting.assertion("1")).await;
    attesting.remove_rule().await;
    let again = rule_request(&attesting.app_id, "ci");
    attesting.services().trust_rules.add(Subject::Admin, None, again, CLIENT).await.unwrap();
    assert_eq!(reason(attesting.commit(prepared).await), "rule_removed");
    attesting.register(&attesting.assertion("1")).await.unwrap();
}

#[tokio::test]
async fn rejects_assertion_whose_app_was_suspended_before_commit() {
    let attesting = Attesting::new().await;
    let prepared = attesting.prepared(&attesting.assertion("1")).await;
    attesting.set_status(AppStatus::Suspended).await;
    assert_eq!(reason(attesting.commit(prepared).await), "app_not_active");
    attesting.set_status(AppStatus::Active).await;
    attesting.register(&attesting.assertion("1")).await.unwrap();
}

#[tokio::test]
async fn rejects_assertion_whose_app_was_deregistered_before_commit() {
    let attesting = Attesting::new().await;
    let prepared = attesting.prepared(&attesting.assertion("1")).await;
    attesting.set_status(AppStatus::Inactive).await;
    assert_eq!(reason(attesting.commit(prepared).await), "rule_removed");
}

#[tokio::test]
async fn rejects_scope_of_app_that_was_narrowed_before_commit() {
    let attesting = Attesting::new().await;
    let prepared = attesting.prepared(&attesting.assertion("1")).await;
    attesting.narrow_app().await;
    assert!(matches!(attesting.commit(prepared).await, Err(Error::ExceedsCeiling { .. })));
}

#[tokio::test]
async fn rejects_assertion_that_expired_before_commit() {
    let attesting = Attesting::new().await;
    let expiring = assertion(attesting.services(), "1", &json!({ "exp": attesting.test.clock.now().seconds() + 5 }));
    let prepared = attesting.prepared(&expiring).await;
    attesting.test.clock.set(attesting.test.clock.now().saturating_add(std::time::Duration::from_secs(5)));
    assert_eq!(reason(attesting.commit(prepared).await), "expired");
}
