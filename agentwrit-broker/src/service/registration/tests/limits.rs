//! Limits of rules and of registrations with assertions.

use std::time::Duration;

use super::*;
use crate::{
    domain::{AppName, TrustRuleId},
    limits::budgets::Budget,
    service::trust_rules::MAX_TRUST_RULES,
    store::StoreError,
};

#[tokio::test]
async fn limits_rule_to_five_hundred_registrations_at_once_then_fifty_a_second() {
    let attesting = Attesting::new().await;
    for number in 0..500 {
        attesting.register(&attesting.assertion(&number.to_string())).await.unwrap();
    }
    let next = attesting.assertion("next");
    let rejected = attesting.register(&next).await.unwrap_err();
    assert!(matches!(rejected, Error::OverBudget { budget: Budget::RuleRegistrations, .. }), "{rejected:?}");
    attesting.test.clock.advance(Duration::from_secs(1));
    attesting.register(&next).await.unwrap();
}

#[tokio::test]
async fn rejects_rule_beyond_limit_until_another_is_removed() {
    let attesting = Attesting::new().await;
    let (app, rule) = (attesting.app_id.clone(), attesting.rule.clone());
    let filled = attesting.services().ledger.transact(move |tx| {
        for number in 1..MAX_TRUST_RULES {
            let name = AppName::parse(&format!("rule-{number}")).unwrap();
            let [.., a, b, c] = number.to_be_bytes();
            let id = TrustRuleId::new(&name, [a, b, c]);
            assert!(tx.insert_trust_rule(TrustRule { id, name, ..rule.clone() })?.is_some());
        }
        Ok::<_, StoreError>(())
    });
    filled.await.unwrap();
    let add = || attesting.services().trust_rules.add(Subject::Admin, None, rule_request(&app, "last"), CLIENT);
    assert_eq!(add().await.unwrap_err(), Error::TooManyTrustRules);
    attesting.remove_rule().await;
    add().await.unwrap();
    assert_eq!(add().await.unwrap_err(), Error::TooManyTrustRules);
}
