//! The answer to a renewal is lost: the broker has renewed, the client still has the old token, and the session is over.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentwrit_client::{AgentState, Client, KeepAlive};
use agentwrit_e2e::Broker;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Passes everything on to a broker, but for the answer to the first renewal: in its place the connection is cut.
async fn cutting_proxy(broker: &Broker) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (broker, cut) = (broker.address().to_owned(), Arc::new(AtomicBool::new(false)));
    let done = Arc::clone(&cut);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, broker.clone(), Arc::clone(&done)));
        }
    });
    (address, cut)
}

async fn pass_on(mut client: TcpStream, broker: String, cut: Arc<AtomicBool>) {
    let mut broker = TcpStream::connect(broker).await.unwrap();
    let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut cutting = false;
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                let sent = &request[..length];
                cutting |= sent.starts_with(b"POST /v1/token/renew ") && !cut.swap(true, Ordering::SeqCst);
                broker.write_all(sent).await.unwrap();
            }
            read = broker.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                // The broker has answered, so the renewal is durable.
                if cutting || client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

struct Scene {
    broker: Broker,
    admin: String,
    cut: Arc<AtomicBool>,
    agent: KeepAlive,
}

/// An agent behind such a proxy, whose token lives three seconds.
async fn scene() -> Scene {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let credentials = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let (proxy, cut) = cutting_proxy(&broker).await;
    let client = Client::new(format!("http://{proxy}")).unwrap();
    let app = client.app(credentials.client_id, credentials.client_secret).unwrap();
    let request = app.agent("orch-1", "task-1").scope(["read:data:x"]).unwrap().max_ttl(Duration::from_secs(3));
    Scene { broker, admin, cut, agent: request.keep_alive() }
}

/// The first state that `wanted` picks.
async fn state<T>(states: &mut watch::Receiver<AgentState>, wanted: impl Fn(&AgentState) -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = wanted(&states.borrow_and_update()) {
                return found;
            }
            states.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, waiting).await.expect("the state is announced")
}

impl Scene {
    async fn count(&self, event_type: &str) -> usize {
        self.broker.events(&self.admin, &format!("event_type={event_type}")).await.len()
    }
}

#[tokio::test]
async fn live_agent_registers_again_when_renewal_response_is_lost() {
    let scene = scene().await;
    let agent = scene.agent.clone().start().await.unwrap();
    let first = agent.agent().unwrap();
    let mut states = agent.subscribe();
    let anew = state(&mut states, |state| state.agent().filter(|now| now.id() != first.id()).cloned()).await;
    assert!(scene.cut.load(Ordering::SeqCst));
    assert!(scene.broker.accepts(anew.token().expose()).await);
    assert!(!scene.broker.accepts(first.token().expose()).await, "the session is over");
    assert_eq!(scene.count("token_renewed").await, 1, "the lost renewal was done, and none after it");
    assert_eq!(scene.count("agent_registered").await, 2);
    agent.release().await.unwrap();
}

#[tokio::test]
async fn live_agent_ends_when_second_registration_is_rejected() {
    let scene = scene().await;
    let agent = scene.agent.clone().without_reregistration().start().await.unwrap();
    let mut states = agent.subscribe();
    let reason =
        state(&mut states, |state| if let AgentState::Ended(reason) = state { Some(Arc::clone(reason)) } else { None });
    assert_eq!(reason.await.status(), Some(401));
    assert_eq!(scene.count("token_renewed").await, 1);
    assert_eq!(scene.count("agent_registered").await, 1);
}
