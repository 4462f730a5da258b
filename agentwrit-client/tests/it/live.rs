//! Agents that are kept alive.

use std::time::Duration;

use agentwrit_client::{AgentRequest, AgentState, App, Client, ClientError, LiveAgent};
use agentwrit_verify::{Subject, testing::TestIssuer};
use data_encoding::HEXLOWER;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    broker::{FakeBroker, problem, token},
    time::{HurriedClock, hurried},
};

const ID: &str = "spiffe://agentwrit.local/agent/ward/visit-1/0123456789abcdef";
const NEXT_ID: &str = "spiffe://agentwrit.local/agent/ward/visit-1/fedcba9876543210";
const LAUNCH: &str = "POST /v1/app/launch-tokens";
const REGISTER: &str = "POST /v1/register";
const RENEW: &str = "POST /v1/token/renew";
const RELEASE: &str = "POST /v1/token/release";

struct Scene {
    broker: FakeBroker,
    clock: HurriedClock,
    app: App,
}

/// Returns a broker that registers agents with tokens of this many seconds.
async fn scene(seconds: u64) -> Scene {
    let broker = FakeBroker::with_app().await;
    broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on(REGISTER, 200, &json!({"agent_id": ID, "access_token": "first", "expires_in": seconds}));
    broker.on(REGISTER, 200, &json!({"agent_id": NEXT_ID, "access_token": "anew", "expires_in": seconds}));
    broker.on_raw(RELEASE, 204, &[], "");
    let clock = HurriedClock::new();
    let patient = Client::builder(&broker.url).timeout(Duration::from_secs(3600)).clock(clock.clone());
    let app = patient.build().unwrap().app("id-1", "client-secret").unwrap();
    Scene { broker, clock, app }
}

impl Scene {
    fn request(&self) -> AgentRequest {
        self.app.agent("ward", "visit-1").scope(["read:records:P-1"]).unwrap().label("the night nurse")
    }

    async fn live(&self) -> LiveAgent {
        self.request().keep_alive().start().await.unwrap()
    }
}

/// Returns the next state.
async fn next(states: &mut watch::Receiver<AgentState>) -> AgentState {
    states.changed().await.unwrap();
    states.borrow_and_update().clone()
}

/// Returns the next state's token, which is a new one.
async fn next_token(states: &mut watch::Receiver<AgentState>) -> (String, String) {
    loop {
        if let AgentState::Live(agent) = next(states).await {
            return (agent.id().to_string(), agent.token().expose().to_owned());
        }
    }
}

fn dead() -> serde_json::Value {
    problem(401, "unauthorized", "token renewal failed")
}

#[tokio::test]
async fn renews_token_repeatedly() {
    hurried(async {
        let scene = scene(10).await;
        scene.broker.on(RENEW, 200, &token("second", 10));
        scene.broker.on(RENEW, 200, &token("third", 10));
        let live = scene.live().await;
        assert_eq!(live.authorization().unwrap(), "Bearer first");
        let mut states = live.subscribe();
        assert_eq!(next_token(&mut states).await, (ID.to_owned(), "second".to_owned()));
        assert!(scene.clock.elapsed() >= Duration::from_secs(7), "{:?}", scene.clock.elapsed());
        assert_eq!(live.clone().authorization().unwrap(), "Bearer second");
        assert!(live.authorization().unwrap().is_sensitive());
        assert_eq!(next_token(&mut states).await, (ID.to_owned(), "third".to_owned()));
        assert_eq!((scene.broker.count(RENEW), scene.broker.count(REGISTER)), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn retries_renewal_after_transport_error() {
    hurried(async {
        let scene = scene(60).await;
        scene.broker.on_raw(RENEW, 502, &[], "<html>");
        scene.broker.on(RENEW, 500, &problem(500, "internal_error", "a defect"));
        scene.broker.on(RENEW, 200, &token("second", 60));
        let live = scene.live().await;
        assert_eq!(next_token(&mut live.subscribe()).await, (ID.to_owned(), "second".to_owned()));
        assert_eq!((scene.broker.count(RENEW), scene.broker.count(REGISTER)), (3, 1));
    })
    .await;
}

#[tokio::test]
async fn registers_again_after_rejected_renewal() {
    hurried(async {
        let scene = scene(10).await;
        scene.broker.on(RENEW, 401, &dead());
        scene.broker.on(RENEW, 200, &token("second", 10));
        let live = scene.live().await;
        let mut states = live.subscribe();
        let AgentState::Recovering(reason) = next(&mut states).await else { panic!("{live:?}") };
        assert_eq!(reason.problem().unwrap().detail, "token renewal failed");
        assert_eq!(next_token(&mut states).await, (NEXT_ID.to_owned(), "anew".to_owned()));
        assert_eq!(live.agent().unwrap().id().as_str(), NEXT_ID);
        let asked = scene.broker.requests(LAUNCH);
        assert_eq!(asked[0].json(), asked[1].json(), "the same request");
        assert_eq!(asked.len(), 2);
        assert_eq!(next_token(&mut states).await, (NEXT_ID.to_owned(), "second".to_owned()));
        assert_eq!(scene.broker.requests(RENEW)[1].authorization(), Some("Bearer anew"));
    })
    .await;
}

#[tokio::test]
async fn keeps_registering_until_broker_is_reachable() {
    hurried(async {
        let scene = scene(2).await;
        scene.broker.on(RENEW, 401, &dead());
        scene.broker.on_raw("GET /v1/challenge", 404, &[], "");
        scene.broker.on_raw("GET /v1/challenge", 404, &[], "");
        scene.broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
        let live = scene.live().await;
        let mut states = live.subscribe();
        let AgentState::Recovering(_) = next(&mut states).await else { panic!("{live:?}") };
        let AgentState::Recovering(reason) = next(&mut states).await else { panic!("{live:?}") };
        assert_eq!(reason.status(), Some(404));
        assert_eq!(live.authorization().unwrap_err().status(), Some(404), "what the last attempt came to");
        assert_eq!(next_token(&mut states).await, (NEXT_ID.to_owned(), "anew".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn ends_after_rejection_without_reregistration() {
    hurried(async {
        let scene = scene(10).await;
        scene.broker.on(RENEW, 401, &dead());
        let live = scene.request().keep_alive().without_reregistration().start().await.unwrap();
        let mut states = live.subscribe();
        let AgentState::Ended(reason) = next(&mut states).await else { panic!("{live:?}") };
        assert_eq!(reason.status(), Some(401));
        assert_eq!(live.authorization().unwrap_err().error_code(), Some("unauthorized"));
        assert!(states.changed().await.is_err(), "nothing follows");
        live.release().await.unwrap();
        assert_eq!((scene.broker.count(REGISTER), scene.broker.count(RELEASE)), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn does_not_loop_at_end_of_session() {
    hurried(async {
        let scene = scene(30).await;
        scene.broker.on(RENEW, 200, &token("the last", 3));
        let live = scene.live().await;
        let mut states = live.subscribe();
        assert_eq!(next_token(&mut states).await, (ID.to_owned(), "the last".to_owned()));
        assert_eq!(next_token(&mut states).await, (NEXT_ID.to_owned(), "anew".to_owned()));
        assert_eq!(scene.broker.count(RENEW), 1);
    })
    .await;
}

#[tokio::test]
async fn does_not_loop_with_tokens_without_lifetime() {
    hurried(async {
        let scene = scene(0).await;
        scene.broker.on(RENEW, 200, &token("second", 0));
        let live = scene.live().await;
        assert_eq!(live.authorization().unwrap_err().to_string(), "agent has no valid token: it has expired");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!((1..=21).contains(&scene.broker.count(RENEW)), "{}", scene.broker.count(RENEW));
    })
    .await;
}

#[tokio::test]
async fn renews_after_wall_clock_jumps_forward() {
    hurried(async {
        let scene = scene(3600).await;
        scene.broker.on(RENEW, 200, &token("second", 3600));
        let live = scene.live().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.clock.set_by(7200);
        assert_eq!(live.authorization().unwrap_err(), ClientError::NoToken { reason: "it has expired" });
        assert_eq!(next_token(&mut live.subscribe()).await, (ID.to_owned(), "second".to_owned()));
        assert!(scene.clock.elapsed() < Duration::from_secs(60), "{:?}", scene.clock.elapsed());
    })
    .await;
}

#[tokio::test]
async fn renews_after_wall_clock_is_set_back() {
    hurried(async {
        let scene = scene(20).await;
        scene.broker.on(RENEW, 200, &token("second", 20));
        let live = scene.live().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.clock.set_by(-7200);
        let mut states = live.subscribe();
        let renewed = tokio::time::timeout(Duration::from_secs(60), next_token(&mut states)).await;
        assert_eq!(renewed, Ok((ID.to_owned(), "second".to_owned())));
    })
    .await;
}

#[tokio::test]
async fn release_ends_agent_and_task() {
    hurried(async {
        let scene = scene(10).await;
        scene.broker.on(RENEW, 200, &token("second", 10));
        let live = scene.live().await;
        let mut states = live.subscribe();
        next_token(&mut states).await;
        live.release().await.unwrap();
        assert!(matches!(next(&mut states).await, AgentState::Released));
        assert_eq!(live.authorization().unwrap_err(), ClientError::NoToken { reason: "it was released" });
        live.clone().release().await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((scene.broker.count(RELEASE), scene.broker.count(RENEW)), (1, 1));
        assert_eq!(scene.broker.requests(RELEASE)[0].authorization(), Some("Bearer second"));
    })
    .await;
}

#[tokio::test]
async fn failed_release_can_be_repeated() {
    hurried(async {
        let broker = FakeBroker::start().await;
        broker.on(RELEASE, 500, &problem(500, "internal_error", "a defect"));
        broker.on(RELEASE, 401, &problem(401, "unauthorized", "token verification failed"));
        let issuer = TestIssuer::new();
        let mut claims = issuer.claims(&["read:records:P-1"]);
        claims.sub = Subject::parse(ID).unwrap();
        let client = Client::builder(&broker.url).clock(issuer.clock().clone()).build().unwrap();
        let live = client.agent(issuer.sign(&claims)).unwrap().keep_alive().start().await.unwrap();
        assert_eq!(live.agent().unwrap().id().as_str(), ID);
        assert_eq!(live.release().await.unwrap_err().status(), Some(500));
        assert!(matches!(*live.subscribe().borrow(), AgentState::Released), "it is not used any more");
        assert_eq!(live.release().await, Ok(()), "a token that is dead is released");
        assert_eq!((live.release().await, broker.count(RELEASE)), (Ok(()), 2));
    })
    .await;
}

#[tokio::test]
async fn dropping_last_clone_releases_agent() {
    hurried(async {
        let scene = scene(600).await;
        let live = scene.live().await;
        let mut states = live.subscribe();
        let clone = live.clone();
        drop(live);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(scene.broker.count(RELEASE), 0, "a clone is left");
        drop(clone);
        assert!(matches!(next(&mut states).await, AgentState::Released));
        assert!(states.changed().await.is_err(), "the task has ended");
        assert_eq!(scene.broker.count(RELEASE), 1);
    })
    .await;
}

#[test]
fn drops_without_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let live = first.block_on(async { scene(600).await.live().await });
    drop(first);
    let error = runtime().block_on(live.release()).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    drop(live);
}

#[tokio::test]
async fn start_returns_error_of_first_registration() {
    let scene = scene(600).await;
    scene.broker.on("POST /v1/app/auth", 200, &token("app-token", 1000));
    let rejected = Client::new(&scene.broker.url).unwrap().app("id-1", "client-secret").unwrap();
    let request = rejected.agent("ward", "visit-2").scope(["read:records:P-1"]).unwrap();
    let error = request.keep_alive().start().await.unwrap_err();
    assert!(matches!(error, ClientError::MalformedResponse { .. }), "{error:?}");
}
