//! Trust rules and assertions at several brokers.

use futures_util::future::join_all;

use super::*;
use crate::{
    domain::TrustRule,
    service::registration::tests::{assertion, reason, register, rule_request},
};

async fn app(brokers: &Brokers) -> App {
    let new = NewApp {
        name: AppName::parse("an-app").unwrap(),
        scopes: ScopeSet::parse([SCOPE]).unwrap(),
        token_ttl: None,
        sender_constrained: false,
    };
    brokers.of(0).apps.create(None, new, CLIENT).await.unwrap().0
}

async fn add_rule(brokers: &Brokers, app: &App) -> TrustRule {
    let request = rule_request(&app.app_id, "ci");
    brokers.of(0).trust_rules.add(Subject::Admin, None, request, CLIENT).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_registrations_with_one_assertion_at_two_brokers_wins() {
    let brokers = Brokers::start(&[0, 0]).await;
    add_rule(&brokers, &app(&brokers).await).await;
    for round in 0..5 {
        let assertion = assertion(brokers.of(0), &round.to_string(), &json!({}));
        let outcomes = join_all((0..6).map(|broker| register(brokers.of(broker), &assertion))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_eq!(reason(outcome), "assertion_used");
        }
        for broker in 0..2 {
            assert_eq!(reason(register(brokers.of(broker), &assertion).await), "assertion_used");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_counts_at_other_broker_from_its_commit_to_its_removal() {
    let brokers = Brokers::start(&[0, 0]).await;
    let app = app(&brokers).await;
    let at = |broker, jti: &str| assertion(brokers.of(broker), jti, &json!({}));
    assert_eq!(reason(register(brokers.of(1), &at(1, "1")).await), "unknown_issuer");
    let rule = add_rule(&brokers, &app).await;
    register(brokers.of(1), &at(1, "1")).await.unwrap();
    brokers.of(1).trust_rules.remove(Subject::Admin, None, rule.id, CLIENT).await.unwrap();
    assert_eq!(reason(register(brokers.of(0), &at(0, "2")).await), "unknown_issuer");
}
