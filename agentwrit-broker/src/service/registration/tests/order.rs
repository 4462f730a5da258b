//! Several rules that the claims of one assertion meet.

use super::*;
use crate::{domain::AppName, service::apps::NewApp, store::Page};

const WRITE: &str = "write:data:x";

impl Attesting {
    async fn other_app(&self, scopes: &[&str]) -> AppId {
        let (name, scopes) = (AppName::parse("other-app").unwrap(), ScopeSet::parse(scopes).unwrap());
        let new = NewApp { name, scopes, token_ttl: None, sender_constrained: false };
        self.services().apps.create(None, new, CLIENT).await.unwrap().0.app_id
    }

    async fn add(&self, request: TrustRuleRequest) -> TrustRule {
        self.services().trust_rules.add(Subject::Admin, None, request, CLIENT).await.unwrap()
    }

    /// Returns the app of the agent that an assertion registers.
    async fn app_of(&self, jti: &str, scope: &str) -> Option<AppId> {
        let request = registration(self.services(), &self.assertion(jti));
        let request = RegistrationRequest { requested_scope: ScopeSet::parse([scope]).unwrap(), ..request };
        let (id, _) = self.services().registrations.register(request, None, CLIENT).await.unwrap();
        let read = self.services().ledger.read(move |reader| Ok::<_, Error>(reader.agent(&id)?)).await;
        read.unwrap().unwrap().app_id
    }
}

#[tokio::test]
async fn rule_of_suspended_app_takes_no_registration_from_later_rule() {
    let attesting = Attesting::new().await;
    let other = attesting.other_app(&[SCOPE]).await;
    attesting.add(rule_request(&other, "other")).await;
    assert_eq!(attesting.app_of("1", SCOPE).await.as_ref(), Some(&attesting.app_id));
    attesting.set_status(AppStatus::Suspended).await;
    assert_eq!(attesting.app_of("2", SCOPE).await, Some(other));
    attesting.set_status(AppStatus::Active).await;
    assert_eq!(attesting.app_of("3", SCOPE).await.as_ref(), Some(&attesting.app_id));
}

#[tokio::test]
async fn rule_or_app_without_scope_takes_no_registration_from_later_rule() {
    let attesting = Attesting::new().await;
    let other = attesting.other_app(&[SCOPE, WRITE]).await;
    let allowed_scope = ScopeSet::parse([SCOPE, WRITE]).unwrap();
    attesting.add(TrustRuleRequest { allowed_scope, ..rule_request(&other, "other") }).await;
    assert_eq!(attesting.app_of("1", WRITE).await.as_ref(), Some(&other));
    assert_eq!(attesting.app_of("2", SCOPE).await.as_ref(), Some(&attesting.app_id));
    attesting.narrow_app().await;
    assert_eq!(attesting.app_of("3", SCOPE).await, Some(other));
}

#[tokio::test]
async fn deregistered_app_loses_its_rules_and_their_names() {
    let attesting = Attesting::new().await;
    let second = attesting.add(rule_request(&attesting.app_id, "second")).await;
    let other = attesting.other_app(&[SCOPE]).await;
    let kept = attesting.add(rule_request(&other, "kept")).await;
    attesting.set_status(AppStatus::Inactive).await;
    let page = Page { limit: 10, offset: 0, after: 0 };
    let read = attesting.services().ledger.read(move |reader| Ok::<_, Error>(reader.trust_rules(&page)?));
    let (rules, total) = read.await.unwrap();
    assert_eq!((rules.into_iter().map(|(_, rule)| rule).collect::<Vec<_>>(), total), (vec![kept], 1));
    let trail = attesting.test.trail().await;
    let removed: Vec<_> = trail.iter().filter(|event| event.event_type == EventType::TrustRuleRemoved).collect();
    let ids: Vec<_> = removed.iter().filter_map(|event| event.resource.as_deref()).collect();
    assert_eq!(ids, [attesting.rule.id.as_str(), second.id.as_str()]);
    let app = format!("app_id={}", attesting.app_id);
    assert!(removed.iter().all(|event| event.detail.contains(&app)), "{removed:?}");
    attesting.add(rule_request(&other, "ci")).await;
    assert_eq!(attesting.app_of("1", SCOPE).await, Some(other));
}
