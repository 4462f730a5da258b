//! The read and write operations of each table.

use std::time::Duration;

use agentwrit_verify::{
    Level,
    report::{InstanceId, ReportedBound},
};

use super::*;
use crate::{
    domain::{Enrolment, FormerSecret, InstanceState, Revocation},
    store::{Pruned, apps::AppCounts},
};

#[tokio::test]
async fn finds_apps_by_id_client_and_active_name() {
    let fixture = Fixture::new();
    let (web, changed) = fixture
        .write(|tx| {
            let mut web = app("web");
            assert!(tx.insert_app(&web)?);
            assert!(tx.insert_app(&app("cron"))?);
            let mut twin = App { app_id: AppId::new("web", [9; 3]).unwrap(), client_id: "twin".into(), ..app("web") };
            assert!(!tx.insert_app(&twin)?, "the name is taken");
            let created = web.clone();
            web.status = AppStatus::Inactive;
            web.deregistered_at = Some(at(9));
            web.scopes = ScopeSet::parse(["read:data:y"]).unwrap();
            web.sender_constrained = false;
            web.secret_digest = Digest::of(b"new");
            web.former_secret = Some(FormerSecret { digest: created.secret_digest, expires_at: at(60) });
            assert!(tx.update_app(&web)?);
            assert!(tx.insert_app(&twin)?, "an inactive app frees its name");
            twin.app_id = AppId::new("web", [8; 3]).unwrap();
            assert!(!tx.update_app(&twin)?, "no such app");
            Ok((created, web))
        })
        .await;
    assert_ne!(web, changed);
    fixture
        .read(move |reader| {
            assert_eq!(reader.app(&changed.app_id)?, Some(changed.clone()));
            assert_eq!(reader.app_by_client_id("web-client")?, Some(changed));
            assert_eq!(reader.app_by_client_id("unknown")?, None);
            assert_eq!(reader.registered_app_named(&web.name)?.unwrap().client_id, "twin");
            assert_eq!(reader.app(&app_id("none"))?, None);
            let names =
                |(apps, total): (Vec<App>, u64)| (apps.into_iter().map(|app| app.client_id).collect::<Vec<_>>(), total);
            assert_eq!(names(reader.apps(2, 0)?), (vec!["web-client".into(), "cron-client".into()], 3));
            assert_eq!(names(reader.apps(2, 2)?), (vec!["twin".into()], 3));
            assert_eq!(reader.app_counts()?, AppCounts { active: 2, suspended: 0 });
            Ok(())
        })
        .await;
    fixture.write(|tx| tx.update_app(&App { status: AppStatus::Suspended, ..app("cron") })).await;
    fixture
        .read(|reader| {
            assert_eq!(reader.app_counts()?, AppCounts { active: 1, suspended: 1 });
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn single_use_launch_token_is_used_once_and_other_repeatedly() {
    let fixture = Fixture::new();
    fixture
        .write(|tx| {
            let once = LaunchToken { app_id: Some(app_id("web")), task_id: Some(segment("t")), ..launch_token(1) };
            let often = LaunchToken { single_use: false, app_id: Some(app_id("web")), ..launch_token(2) };
            for token in [&once, &often, &launch_token(3)] {
                tx.insert_launch_token(token)?;
                assert_eq!(tx.launch_token_by_digest(&token.digest)?.as_ref(), Some(token));
            }
            assert_eq!(tx.launch_token_by_digest(&Digest::of(b"other"))?, None);

            assert!(tx.consume_launch_token(once.id, at(5))?);
            assert!(!tx.consume_launch_token(once.id, at(6))?);
            assert_eq!(tx.launch_token_by_digest(&once.digest)?.unwrap().consumed_at, Some(at(5)));
            assert!(tx.consume_launch_token(often.id, at(5))?);
            assert!(tx.consume_launch_token(often.id, at(6))?);
            assert_eq!(tx.launch_token_by_digest(&often.digest)?.unwrap(), often);
            assert!(!tx.consume_launch_token(LaunchTokenId::from_bytes([9; 8]), at(5))?);

            assert_eq!(tx.delete_unused_launch_tokens_by(&Subject::App(app_id("web")))?, 1);
            assert!(!tx.consume_launch_token(often.id, at(7))?);
            assert!(tx.consume_launch_token(launch_token(3).id, at(7))?);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn reads_agents_and_tokens_as_written() {
    let fixture = Fixture::new();
    fixture
        .write(|tx| {
            tx.insert_app(&app("web"))?;
            let ours = RegisteredAgent { app_id: Some(app_id("web")), revoked_at: Some(at(9)), ..agent(1) };
            for agent in [&ours, &agent(2)] {
                tx.insert_agent(agent)?;
                assert_eq!(tx.agent(&agent.agent_id)?.as_ref(), Some(agent));
            }
            assert_eq!(tx.agent(&agent_id(3))?, None);

            let delegated = IssuedToken {
                app_id: Some(app_id("web")),
                root: Some(agent_id(2)),
                delegators: vec![agent_id(2), agent_id(1)],
                delegator_sids: vec![token(2).jti, token(1).jti],
                scope: Some(ScopeSet::parse(["read:data:x"]).unwrap()),
                ..token(3)
            };
            let renewed = IssuedToken { sid: token(1).jti, ..token(4) };
            let operator = IssuedToken { subject: Subject::Admin, task_id: None, ..token(5) };
            for token in [&token(1), &delegated, &renewed, &operator] {
                tx.insert_token(token)?;
                assert_eq!(tx.token(&token.jti)?.as_ref(), Some(token));
            }
            assert_eq!(tx.token(&token(9).jti)?, None);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn rejects_duplicate_and_inconsistent_records() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let twice = fixture.store.transact(|tx| tx.insert_agent(&agent(1))).await;
    assert!(matches!(twice, Err(StoreError::Internal { .. })), "{twice:?}");
    let twice = fixture.store.transact(|tx| tx.insert_token(&token(1))).await;
    assert!(matches!(twice, Err(StoreError::Internal { .. })), "{twice:?}");
    let rootless = IssuedToken { delegators: vec![agent_id(1)], ..token(2) };
    let refused = fixture.store.transact(move |tx| tx.insert_token(&rootless)).await;
    assert!(matches!(refused, Err(StoreError::Internal { .. })), "{refused:?}");
}

#[tokio::test]
async fn nonce_is_spent_once() {
    let fixture = Fixture::new();
    assert!(fixture.write(|tx| tx.spend_nonce(&[1; 32], at(30))).await);
    assert!(!fixture.write(|tx| tx.spend_nonce(&[1; 32], at(30))).await);
    let fixture = fixture.reopen().await;
    assert!(!fixture.write(|tx| tx.spend_nonce(&[1; 32], at(30))).await);
}

#[tokio::test]
async fn revocation_cursors_are_never_reused() {
    let revocation = |target: &str, expires_at| Revocation {
        level: Level::Agent,
        target: target.to_owned(),
        revoked_at: at(1),
        expires_at,
        revoked_by: Subject::Admin,
        reason: Some("leaked".to_owned()),
        listed: true,
    };
    let fixture = Fixture::new();
    let epoch = fixture.read(epoch_of).await;
    assert_eq!(epoch.len(), 16);
    fixture
        .write(move |tx| {
            let first = tx.insert_revocation(&revocation("a", at(20)))?;
            let second = tx.insert_revocation(&revocation("b", at(10)))?;
            assert!(second > first);
            let targets = |now| -> Result<Vec<_>, StoreError> {
                Ok(tx.live_revocations(now)?.into_iter().map(|row| (row.cursor, row.revocation.target)).collect())
            };
            assert_eq!(targets(at(9))?, [(first, "a".to_owned()), (second, "b".to_owned())]);
            assert_eq!(targets(at(10))?, [(first, "a".to_owned())]);
            assert_eq!(tx.live_revocations(at(9))?[0].revocation, revocation("a", at(20)));
            assert_eq!(tx.prune(at(20), at(20))?, Pruned { revocations: 2, ..Pruned::default() });
            assert!(tx.insert_revocation(&revocation("c", at(30)))? > second);
            Ok(())
        })
        .await;
    assert_eq!(fixture.reopen().await.read(epoch_of).await, epoch);
}

#[tokio::test]
async fn pruning_deletes_only_expired_rows() {
    let fixture = Fixture::new();
    let pruned = fixture
        .write(|tx| {
            for number in 0..600 {
                let expires_at = if number < 550 { at(10) } else { at(11) };
                tx.insert_agent(&RegisteredAgent { expires_at, ..agent(number) })?;
                let lineage = if number > 0 { vec![agent_id(0)] } else { Vec::new() };
                let delegator_sids = lineage.iter().map(|_| token(0).jti).collect();
                let root = lineage.first().cloned();
                tx.insert_token(&IssuedToken {
                    expires_at,
                    root,
                    delegators: lineage,
                    delegator_sids,
                    ..token(number)
                })?;
                tx.insert_launch_token(&LaunchToken { expires_at, ..launch_token(number) })?;
            }
            tx.spend_nonce(&[1; 32], at(10))?;
            tx.append(event("kept"))?;
            let first = tx.prune(at(10), at(10))?;
            assert!(first.reached_limit());
            let second = tx.prune(at(10), at(10))?;
            assert!(!second.reached_limit());
            assert_eq!(tx.prune(at(10), at(10))?, Pruned::default());
            assert_eq!(tx.token(&token(0).jti)?, None);
            assert!(tx.token(&token(599).jti)?.is_some());
            assert!(tx.agent(&agent_id(599))?.is_some());
            Ok([first, second])
        })
        .await;
    let some =
        |number, nonces| Pruned { nonces, launch_tokens: number, agents: number, tokens: number, ..Pruned::default() };
    assert_eq!(pruned, [some(500, 1), some(50, 0)]);
    assert_eq!(fixture.read(whole_trail).await, 1);
}

#[tokio::test]
async fn keeps_enrolments_in_order_and_instances_of_enrolled_verifiers() {
    let fixture = Fixture::new();
    fixture
        .write(|tx| {
            let first = enrolment("payments-api", 1, at(5));
            assert_eq!(tx.insert_verifier(&first)?, first);
            let same_time = enrolment("another", 2, at(5));
            let later = |micros| at(5).saturating_add(Duration::from_micros(micros));
            assert_eq!(tx.insert_verifier(&same_time)?.added_at, later(1));
            let earlier = Enrolment { max_bound: None, ..enrolment("third", 3, at(1)) };
            assert_eq!(tx.insert_verifier(&earlier)?.added_at, later(2));
            let names: Vec<_> = tx.enrolments()?.into_iter().map(|known| known.name.to_string()).collect();
            assert_eq!(names, ["payments-api", "another", "third"]);

            for state in [instance("payments-api", 1), instance("another", 2), instance("payments-api", 3)] {
                tx.put_verifier_instance(&state)?;
            }
            let later = InstanceState {
                sequence: i64::MAX.unsigned_abs(),
                bound: ReportedBound::Unbounded,
                key_set: None,
                drained: None,
                leaving: true,
                is_ahead: true,
                ..instance("payments-api", 3)
            };
            tx.put_verifier_instance(&later)?;
            assert_eq!(tx.verifier_instances()?, [instance("another", 2), instance("payments-api", 1), later]);
            tx.delete_verifier_instance(&first.name, InstanceId::from_bytes([1; 16]))?;
            tx.delete_verifier(&same_time.name)?;
            Ok(())
        })
        .await;
    fixture
        .read(|reader| {
            let enrolled = reader.enrolments()?;
            assert_eq!(enrolled[0], enrolment("payments-api", 1, at(5)));
            assert_eq!((enrolled.len(), enrolled[1].max_bound), (2, None));
            let instances: Vec<_> = reader.verifier_instances()?.into_iter().map(|state| state.instance).collect();
            assert_eq!(instances, [InstanceId::from_bytes([3; 16])]);
            Ok(())
        })
        .await;
}
