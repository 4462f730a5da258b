use std::{sync::mpsc, time::Duration};

use tokio::{task::yield_now, time::timeout};
use tower::ServiceExt;

use super::*;
use crate::{
    config::Config,
    http::router,
    keys::{Entropy, OsEntropy, open_key_files},
    store::{Store, StoreError, StoreOptions},
};

/// Waits until `count` reads have a place in the queue or run.
async fn until_reads(store: &Store, count: usize) {
    let reached = async {
        while store.reads_admitted() != count {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), reached).await.expect("the number of reads is reached");
}

#[tokio::test]
async fn ends_waiting_read_of_post_request_when_its_connection_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::for_development(directory.path(), "a secret for the tests").unwrap();
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy::open().unwrap());
    let store = Store::open(&config.db_path, StoreOptions { readers: 1, ..StoreOptions::default() }).unwrap();
    let keys = open_key_files(&store, &config.signing_key_path, &entropy).await.unwrap();
    let services = Services::build(&config, store.clone(), keys, entropy).await.unwrap();
    let router = {
        let edge = Edge::for_tests(&services);
        router(Arc::new(services), edge)
    };
    let (release, wait) = mpsc::channel::<()>();
    let reading = store.clone();
    let blocker = tokio::spawn(async move { reading.read(move |_| Ok::<_, StoreError>(wait.recv().is_err())).await });
    until_reads(&store, 1).await;

    let body = r#"{"client_id": "a-client", "client_secret": "a secret of some length"}"#;
    let request =
        Request::post("/v1/app/auth").header("host", "broker.test").header("content-type", "application/json");
    let connection = tokio::spawn(router.oneshot(request.body(Body::from(body)).unwrap()));
    until_reads(&store, 2).await;
    connection.abort();
    until_reads(&store, 1).await;

    drop(release);
    assert_eq!(blocker.await.unwrap(), Ok(true));
}
