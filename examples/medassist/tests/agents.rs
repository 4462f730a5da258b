//! Renewal, release and delegation of the client's agents, against a real broker.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]

use std::time::Duration;

use agentwrit_client::{Agent, RevocationTarget};
use agentwrit_verify::Subject;
use medassist::scene::Scene;

const SCOPES: [&str; 2] = ["read:labs:P-1042", "read:prescriptions:P-1042"];
const MINUTE: Duration = Duration::from_secs(60);

async fn scene() -> (Scene, Agent) {
    let scene = Scene::set().await.unwrap();
    let agent = scene.agent("examine", &SCOPES).await.unwrap();
    (scene, agent)
}

#[tokio::test]
async fn simultaneous_renewals_succeed_and_share_one_token() {
    let (scene, agent) = scene().await;
    let first = agent.token();
    let renew = |clone: Agent| tokio::spawn(async move { clone.renew().await });
    let renewals: Vec<_> = (0..16).map(|_| renew(agent.clone())).collect();
    for renewal in renewals {
        renewal.await.unwrap().unwrap();
    }
    assert_ne!(agent.token().expose(), first.expose());
    agent.renew().await.unwrap();
    scene.strike().await;
}

#[tokio::test]
async fn released_agent_cannot_renew_or_delegate() {
    let (scene, agent) = scene().await;
    let other = scene.agent("prescribe", &["read:formulary:*"]).await.unwrap();
    agent.release().await.unwrap();
    agent.release().await.unwrap();
    let error = agent.renew().await.unwrap_err();
    assert_eq!((error.status(), error.error_code()), (Some(401), Some("unauthorized")));
    let error = agent.delegate(other.id(), SCOPES, MINUTE).await.unwrap_err();
    assert_eq!((error.status(), error.error_code()), (Some(401), Some("unauthorized")));
    scene.strike().await;
}

#[tokio::test]
async fn redelegation_to_third_agent_never_widens() {
    let (scene, agent) = scene().await;
    let second = scene.agent("prescribe", &["read:formulary:*"]).await.unwrap();
    let third = scene.agent("invoice", &["read:formulary:*"]).await.unwrap();

    let delegated = agent.delegate(second.id(), SCOPES, 24 * 60 * MINUTE).await.unwrap();
    let second_later = Duration::from_secs(1); // between the two questions the clock may have struck
    let limit = agent.expires_at().saturating_add(second_later);
    assert!(delegated.expires_at() <= limit, "never longer than the delegator's own");
    let second = second.accept(delegated.token().clone()).unwrap();
    assert_eq!(second.scopes(), delegated.scopes());

    let error = second.delegate(third.id(), ["read:labs:*"], MINUTE).await.unwrap_err();
    assert_eq!(error.error_code(), Some("scope_violation"));
    let onward = second.delegate(third.id(), ["read:labs:P-1042"], MINUTE).await.unwrap();
    let hops: Vec<_> = onward.chain().iter().map(|record| (&record.agent, &record.delegate)).collect();
    assert_eq!(hops, [(agent.id(), second.id()), (second.id(), third.id())]);

    assert!(second.accept(onward.token().clone()).is_err(), "it is the third one's");
    let third = third.accept(onward.token().clone()).unwrap();
    third.renew().await.unwrap();
    assert!(third.expires_at() <= limit);
    scene.strike().await;
}

#[tokio::test]
async fn rejects_delegation_to_revoked_agent() {
    let (scene, agent) = scene().await;
    let gone = scene.agent("prescribe", &["read:formulary:*"]).await.unwrap();
    let target = RevocationTarget::Subject(Subject::parse(gone.id().as_str()).unwrap());
    assert!(scene.admin().revoke(&target, None).await.unwrap().revoked);
    let error = agent.delegate(gone.id(), SCOPES, MINUTE).await.unwrap_err();
    assert_eq!((error.status(), error.error_code()), (Some(404), Some("not_found")));
    scene.strike().await;
}
