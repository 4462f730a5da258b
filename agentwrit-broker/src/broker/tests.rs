use std::sync::{Mutex, mpsc};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::*;
use crate::{
    audit::EventType,
    store::{Store, StoreOptions, Tx},
};

const SECRET: &str = "a secret for the tests";

/// Occupies the writer of the store until the sender is dropped.
async fn occupy_writer(store: &Store) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (start, mut begun) = tokio::sync::mpsc::channel(1);
    let (store, released) = (store.clone(), Arc::new(Mutex::new(released)));
    tokio::spawn(async move {
        let wait = move |_: &mut Tx<'_>| {
            start.try_send(()).ok();
            released.lock().unwrap().recv().ok();
            Ok::<_, StoreError>(())
        };
        store.transact(wait).await
    });
    begun.recv().await.unwrap();
    release
}

async fn until(condition: impl Fn() -> bool) {
    let checking = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), checking).await.unwrap();
}

#[tokio::test]
async fn shutdown_records_denial_of_client_that_hung_up() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::for_development(directory.path(), SECRET).unwrap();
    let broker = Broker::start(config.clone()).await.unwrap();
    let operator = broker.services.logins.issue_admin_token(broker.local_addr().ip()).await.unwrap().access_token;
    let ledger = Arc::clone(&broker.services.ledger);
    let writer = occupy_writer(&ledger.store).await;
    let mut client = TcpStream::connect(broker.local_addr()).await.unwrap();
    let head = format!("POST /v1/token/renew HTTP/1.1\r\nhost: broker\r\nauthorization: Bearer {operator}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    // The renewal waits for the writer, which will deny it: operators do not renew.
    until(|| ledger.tasks.len() == 1).await;
    drop(client);
    let stopping = tokio::spawn(broker.shutdown());
    until(|| ledger.tasks.is_closed()).await;
    drop(writer);
    stopping.await.unwrap();
    drop(ledger);
    let store = Store::open(&config.db_path, StoreOptions::default()).unwrap();
    let events = store.read(|reader| reader.audit_events_after(0, 10)).await.unwrap();
    let types: Vec<_> = events.iter().map(|event| event.event_type).collect();
    assert!(types.contains(&EventType::TokenRenewalFailed), "{types:?}");
}

#[tokio::test]
async fn console_that_is_off_has_no_route_no_state_and_no_task() {
    let mut counted = Vec::new();
    for console in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { console, ..Config::for_development(directory.path(), SECRET).unwrap() };
        let metrics = tokio::runtime::Handle::current().metrics();
        let before = metrics.num_alive_tasks();
        let broker = Broker::start(config.clone()).await.unwrap();
        let tasks = metrics.num_alive_tasks() - before;
        // Whatever the console keeps, it keeps the services.
        let owners = Arc::strong_count(&broker.services);
        let pages = pages(&config, &broker.services);
        assert_eq!(pages.has_routes(), console);
        assert_eq!(Arc::strong_count(&broker.services) > owners, console);
        drop(pages);
        broker.shutdown().await;
        counted.push((tasks, owners));
    }
    let [(tasks_off, owners_off), (tasks_on, owners_on)] = counted[..] else { panic!("{counted:?}") };
    assert_eq!(tasks_off, tasks_on, "the console has no task, on or off");
    assert!(owners_off < owners_on, "{owners_off} {owners_on}");
}
