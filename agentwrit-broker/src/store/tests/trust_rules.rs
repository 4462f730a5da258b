//! Trust rules, used assertions, and agents that registered with one.

use std::time::Duration;

use agentwrit_protocol::AttestationKind;

use super::*;
use crate::{
    domain::TrustRule,
    store::{Page, Pruned},
};

const ISSUER: &str = "https://id.example";

#[tokio::test]
async fn finds_trust_rules_by_id_name_and_issuer_in_order_of_creation() {
    let fixture = Fixture::new();
    let added = fixture
        .write(|tx| {
            let rules = ["first", "second", "third"].map(|name| TrustRule { created_at: at(5), ..trust_rule(name) });
            let other_kind = TrustRule { kind: AttestationKind::Kubernetes, ..trust_rule("cluster") };
            let added: Option<Vec<_>> = rules
                .into_iter()
                .chain([other_kind])
                .map(|rule| tx.insert_trust_rule(rule))
                .collect::<Result<_, _>>()?;
            let added = added.unwrap();
            assert_eq!(added[0], TrustRule { created_at: at(5), ..trust_rule("first") });
            assert!(added.windows(2).all(|pair| pair[0].created_at < pair[1].created_at));
            assert_eq!(tx.insert_trust_rule(trust_rule("first"))?, None, "the name is taken");
            for rule in &added {
                assert_eq!(tx.trust_rule(&rule.id)?.as_ref(), Some(rule));
                assert_eq!(tx.trust_rule_named(&rule.name)?.as_ref(), Some(rule));
            }
            Ok(added)
        })
        .await;
    let fixture = fixture.reopen().await;
    fixture
        .read(move |reader| {
            let all = |limit, offset, after| reader.trust_rules(&Page { limit, offset, after });
            let (listed, total) = all(10, 0, 0)?;
            let rules: Vec<_> = listed.iter().map(|(_, rule)| rule.clone()).collect();
            assert_eq!((&rules, total), (&added, 4));
            assert_eq!(all(1, 1, listed[0].0)?, (vec![listed[2].clone()], 4));
            assert_eq!(reader.trust_rule(&added[3].id)?.as_ref(), Some(&added[3]));
            assert_eq!(reader.trust_rules_for(AttestationKind::Oidc, ISSUER)?, added[..3]);
            let ids: Vec<_> = added[..3].iter().map(|rule| (rule.id.clone(), rule.created_at)).collect();
            assert_eq!(reader.trust_rule_ids_for(AttestationKind::Oidc, ISSUER)?, ids);
            assert_eq!(reader.trust_rules_for(AttestationKind::Kubernetes, ISSUER)?, added[3..]);
            assert_eq!(reader.trust_rules_for(AttestationKind::Oidc, "https://id.example/")?, []);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn finds_trust_rules_of_app_and_active_apps_of_issuer() {
    let fixture = Fixture::new();
    let of = |name, app| TrustRule { app_id: app_id(app), ..trust_rule(name) };
    let added = fixture
        .write(move |tx| {
            for (name, status) in [
                ("web", AppStatus::Active),
                ("desk", AppStatus::Active),
                ("idle", AppStatus::Active),
                ("late", AppStatus::Suspended),
                ("gone", AppStatus::Inactive),
            ] {
                tx.insert_app(&App { status, ..app(name) })?;
            }
            let kubernetes = TrustRule { kind: AttestationKind::Kubernetes, ..of("cluster", "idle") };
            let other_issuer = TrustRule { issuer: "https://id.example/".to_owned(), ..of("other", "idle") };
            let rules = [
                of("rule-a", "web"),
                of("rule-b", "desk"),
                of("rule-c", "web"),
                of("rule-d", "late"),
                of("rule-e", "gone"),
                kubernetes,
                other_issuer,
            ];
            let added: Option<Vec<_>> =
                rules.into_iter().map(|rule| tx.insert_trust_rule(rule)).collect::<Result<_, _>>()?;
            let added = added.unwrap();
            assert_eq!(tx.trust_rules_of_app(&app_id("web"))?, [added[0].clone(), added[2].clone()]);
            Ok(added)
        })
        .await;
    let fixture = fixture.reopen().await;
    fixture
        .read(move |reader| {
            assert_eq!(reader.trust_rules_of_app(&app_id("web"))?, [added[0].clone(), added[2].clone()]);
            assert_eq!(reader.trust_rules_of_app(&app_id("none"))?, []);
            let apps = |kind, issuer| -> Result<Vec<String>, StoreError> {
                let apps = reader.active_apps_trusting(kind, issuer)?;
                let mut names: Vec<String> = apps.iter().map(|app| app.name.as_str().to_owned()).collect();
                names.sort();
                Ok(names)
            };
            assert_eq!(apps(AttestationKind::Oidc, ISSUER)?, ["desk", "web"]);
            assert_eq!(apps(AttestationKind::Kubernetes, ISSUER)?, ["idle"]);
            assert_eq!(apps(AttestationKind::Spiffe, ISSUER)?, [""; 0]);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn trust_rule_in_memory_equals_stored_one_when_clock_has_nanoseconds() {
    let fixture = Fixture::new();
    let created_at = UnixTime::since_epoch(Duration::from_nanos(5_000_000_123));
    let rule = TrustRule { created_at, ..trust_rule("ci") };
    let added = fixture.write(move |tx| tx.insert_trust_rule(rule)).await.unwrap();
    let id = added.id.clone();
    let remembered = fixture.write(move |tx| tx.trust_rule(&id)).await;
    let stored = fixture.read(move |reader| reader.trust_rules_for(AttestationKind::Oidc, ISSUER)).await;
    assert_eq!((remembered, stored), (Some(added.clone()), vec![added]));
}

#[tokio::test]
async fn deleted_trust_rule_is_gone_and_its_name_free() {
    let fixture = Fixture::new();
    let id = trust_rule("ci").id;
    fixture.write(|tx| tx.insert_trust_rule(trust_rule("ci"))).await.unwrap();
    let again = id.clone();
    fixture
        .write(move |tx| {
            assert!(tx.delete_trust_rule(&id)?);
            assert!(!tx.delete_trust_rule(&id)?);
            assert_eq!(tx.trust_rule(&id)?, None);
            assert!(tx.insert_trust_rule(trust_rule("ci"))?.is_some(), "the same batch may add it again");
            assert!(tx.delete_trust_rule(&id)?);
            Ok(())
        })
        .await;
    let left = fixture.read(move |reader| Ok((reader.trust_rule(&again)?, reader.latest_trust_rule()?))).await;
    assert_eq!(left, (None, 0));
}

#[tokio::test]
async fn assertion_is_used_once_until_it_is_deleted_after_its_expiry() {
    let fixture = Fixture::new();
    let assertion = Digest::of(b"an assertion");
    assert!(fixture.write(move |tx| tx.use_assertion(&assertion, at(30))).await);
    assert!(!fixture.write(move |tx| tx.use_assertion(&assertion, at(40))).await, "another expiry");
    let fixture = fixture.reopen().await;
    let used = fixture.write(move |tx| Ok((tx.use_assertion(&assertion, at(30))?, tx.prune(at(29), at(29))?))).await;
    assert_eq!(used, (false, Pruned::default()));
    assert!(fixture.read(move |reader| reader.is_used_assertion(&assertion)).await);
    let pruned = fixture.write(|tx| tx.prune(at(30), at(30))).await;
    assert_eq!(pruned, Pruned { assertions: 1, ..Pruned::default() });
    assert!(!fixture.read(move |reader| reader.is_used_assertion(&assertion)).await);
}

#[tokio::test]
async fn failed_job_uses_no_assertion() {
    let fixture = Fixture::new();
    let assertion = Digest::of(b"an assertion");
    let failed = fixture.store.transact(move |tx| {
        assert!(tx.use_assertion(&assertion, at(30))?);
        Err::<(), _>(StoreError::internal("a later check failed"))
    });
    failed.await.unwrap_err();
    assert!(fixture.write(move |tx| tx.use_assertion(&assertion, at(30))).await);
}

#[tokio::test]
async fn finds_agents_of_pod_that_may_hold_tokens() {
    let fixture = Fixture::new();
    fixture
        .write(|tx| {
            tx.insert_app(&app("web"))?;
            let live = RegisteredAgent { app_id: Some(app_id("web")), ..attested_agent(1, "pod-1") };
            let expired = RegisteredAgent { expires_at: at(10), ..attested_agent(2, "pod-2") };
            let barred = RegisteredAgent { revoked_at: Some(at(9)), ..attested_agent(3, "pod-1") };
            for agent in [&live, &expired, &barred, &attested_agent(4, "pod-3"), &agent(5)] {
                tx.insert_agent(agent)?;
            }
            Ok(())
        })
        .await;
    let fixture = fixture.reopen().await;
    fixture
        .read(|reader| {
            let live = RegisteredAgent { app_id: Some(app_id("web")), ..attested_agent(1, "pod-1") };
            assert_eq!(reader.agent(&agent_id(1))?, Some(live.clone()));
            assert_eq!(reader.agents(&of_web(), &Page { limit: 9, offset: 0, after: 0 })?.0[0].1, live);
            let rule = trust_rule("ci").id;
            let pods = ["pod-1", "pod-3"].map(|uid| (rule.clone(), uid.to_owned()));
            assert_eq!(reader.pods_of_agents(at(10))?, pods);
            assert_eq!(reader.agents_of_pod("pod-1", None, at(10))?, [agent_id(1)]);
            assert_eq!(reader.agents_of_pod("pod-1", Some(&rule), at(10))?, [agent_id(1)]);
            assert_eq!(reader.agents_of_pod("pod-1", Some(&trust_rule("cd").id), at(10))?, []);
            assert_eq!(reader.agents_of_pod("pod-2", None, at(10))?, []);
            Ok(())
        })
        .await;
}
