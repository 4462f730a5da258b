//! A resource server that follows the real broker and never asks it (contract §5): `agentwrit_verify::remote::Follower`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentwrit_e2e::{Agent, Broker, jti};
use agentwrit_verify::{Clock, Level, SystemClock, UnixTime, Verifier, VerifyError, remote::Follower};
use serde_json::json;
use tempfile::TempDir;

/// The system's clock, which a test can put forward.
#[derive(Clone, Debug, Default)]
struct Forward(Arc<AtomicU64>);

impl Forward {
    fn seconds(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for Forward {
    fn now(&self) -> UnixTime {
        SystemClock.now().saturating_add(self.seconds())
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + self.seconds()
    }
}

async fn follow(broker: &Broker) -> (Follower, Verifier) {
    let follower = Follower::builder(&broker.url).issuer("https://agentwrit.local").start().await.unwrap();
    let verifier = follower.verifier().build();
    (follower, verifier)
}

/// Waits for what the background will bring.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let happened = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(happened.is_ok(), "{what}");
}

fn dead_by(verifier: &Verifier, token: &str) -> Option<Level> {
    match verifier.verify(token) {
        Err(VerifyError::Revoked { level, .. }) => Some(level),
        _ => None,
    }
}

async fn enrol(broker: &Broker, admin: &str, task: &str) -> Agent {
    broker.enrol(admin, task, json!({"allowed_scope": ["read:data:*"]})).await
}

/// The same files, and the same port, which the follower knows.
async fn restart(directory: TempDir, url: &str) -> Broker {
    let port = url.rsplit(':').next().unwrap();
    Broker::start_in(directory, &[("AA_PORT", port)]).await
}

#[tokio::test]
async fn rejects_token_after_each_kind_of_ending_without_request_to_broker() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (_follower, verifier) = follow(&broker).await;
    let [token, agent, task, chain, released, renewed] = [
        enrol(&broker, &admin, "one").await,
        enrol(&broker, &admin, "two").await,
        enrol(&broker, &admin, "three").await,
        enrol(&broker, &admin, "four").await,
        enrol(&broker, &admin, "five").await,
        enrol(&broker, &admin, "six").await,
    ];
    let delegated = broker.delegated(&chain.token, &agent, &["read:data:7"]).await;
    for good in [&token, &agent, &task, &chain, &released, &renewed] {
        assert!(verifier.verify(&good.token).is_ok());
    }
    assert!(verifier.verify(&delegated).is_ok(), "the chain is verified offline");

    broker.revoked(&admin, "token", &jti(&token.token)).await;
    broker.revoked(&admin, "task", "three").await;
    broker.revoked(&admin, "chain", &chain.id).await;
    assert_eq!(broker.release(&released.token).await.status, 204);
    let next = broker.renewed(&renewed.token).await;
    until("the endings arrive", || {
        [&token, &task, &chain, &released, &renewed].iter().all(|ended| dead_by(&verifier, &ended.token).is_some())
    })
    .await;
    assert_eq!(dead_by(&verifier, &delegated), Some(Level::Chain));
    assert!(verifier.verify(&agent.token).is_ok() && verifier.verify(&next).is_ok(), "the others live");
    broker.revoked(&admin, "agent", &agent.id).await;
    until("the agent dies", || dead_by(&verifier, &agent.token) == Some(Level::Agent)).await;
}

#[tokio::test]
async fn recovers_from_broker_crash_with_revocations_in_force() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (follower, verifier) = follow(&broker).await;
    let [dead, live] = [enrol(&broker, &admin, "one").await, enrol(&broker, &admin, "two").await];
    broker.revoked(&admin, "token", &jti(&dead.token)).await;
    until("the revocation arrives", || dead_by(&verifier, &dead.token).is_some()).await;
    let url = broker.url.clone();
    let directory = broker.kill().await;
    assert!(verifier.verify(&live.token).is_ok() && dead_by(&verifier, &dead.token).is_some(), "the broker is gone");

    let broker = restart(directory, &url).await;
    broker.revoked(&admin, "token", &jti(&live.token)).await;
    until("the follower is back", || dead_by(&verifier, &live.token).is_some()).await;
    assert!(dead_by(&verifier, &dead.token).is_some());
    assert!(follower.status().ready);
}

#[tokio::test]
async fn answers_503_when_cut_off_from_broker() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let clock = Forward::default();
    let builder = Follower::builder(&broker.url).issuer("https://agentwrit.local").clock(clock.clone());
    let follower = builder.start().await.unwrap();
    let verifier = follower.verifier().build();
    let agent = enrol(&broker, &admin, "one").await;
    assert!(verifier.verify(&agent.token).is_ok());
    let url = broker.url.clone();
    let directory = broker.kill().await;
    clock.0.store(20, Ordering::SeqCst);
    assert!(verifier.verify(&agent.token).is_ok(), "20 s and 5 s of leeway are within 30 s");
    clock.0.store(31, Ordering::SeqCst);
    let stale = verifier.verify(&agent.token).unwrap_err();
    assert!(matches!(stale, VerifyError::StaleRevocations { .. }) && stale.is_unavailable(), "{stale}");
    clock.0.store(0, Ordering::SeqCst);
    let _broker = restart(directory, &url).await;
    until("it knows again", || verifier.verify(&agent.token).is_ok()).await;
}

#[tokio::test]
async fn keeps_revocations_after_broker_restored_from_backup() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (_follower, verifier) = follow(&broker).await;
    let agent = enrol(&broker, &admin, "one").await;
    assert!(verifier.verify(&agent.token).is_ok());
    let url = broker.url.clone();
    let (_, directory) = broker.terminate().await;
    let marked = Broker::run_in(directory.path(), &[], &["mark-restored"]).await;
    assert!(marked.status.success(), "{}", marked.output);
    let broker = restart(directory, &url).await;
    until("the new epoch arrives", || dead_by(&verifier, &agent.token) == Some(Level::Issuer)).await;
    // The mark kills what was issued in its second too.
    let marked_at = SystemClock.now().seconds();
    until("the next second", || SystemClock.now().seconds() > marked_at).await;
    let admin = broker.admin_token().await;
    let next = enrol(&broker, &admin, "one").await;
    until("life goes on", || verifier.verify(&next.token).is_ok()).await;
}

#[tokio::test]
async fn starts_from_state_file_without_broker() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("agentwrit.state");
    let url = broker.url.clone();
    let start = async || {
        let builder = Follower::builder(&url).issuer("https://agentwrit.local").state_file(&state);
        builder.start().await
    };
    let [dead, live] = [enrol(&broker, &admin, "one").await, enrol(&broker, &admin, "two").await];
    broker.revoked(&admin, "token", &jti(&dead.token)).await;
    let follower = start().await.unwrap();
    assert!(dead_by(&follower.verifier().build(), &dead.token).is_some());
    drop(follower);
    let _directory = broker.kill().await;
    let verifier = start().await.unwrap().verifier().build();
    assert!(dead_by(&verifier, &dead.token).is_some() && verifier.verify(&live.token).is_ok());
}
