//! Registration of a demo's app at a running broker, by several instances and across restarts.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]

use std::{fs, path::Path};

use agentwrit_client::{Admin, AppStatus};
use demo_common::broker::{AppCredentials, BrokerAccess, ConnectedApp, DemoApp, OwnBroker, connect};

const DEMO: DemoApp = DemoApp { name: "demo", ceiling: &["read:data:*"] };

/// Access of an instance with a file of its own.
fn access(broker: &OwnBroker, file: &Path) -> BrokerAccess {
    BrokerAccess { credentials_file: Some(file.to_owned()), ..broker.access() }
}

/// Creates an agent in a new session, which needs the app's secret.
async fn assert_works(broker: &OwnBroker, file: &Path, client_id: &str) {
    let again = connect(&BrokerAccess { admin_secret: None, ..access(broker, file) }, &DEMO).await.unwrap();
    assert_eq!(again.client_id, client_id);
    again.app.agent("demo", "task").scope(["read:data:1"]).unwrap().create().await.unwrap();
}

async fn names(admin: &Admin) -> Vec<String> {
    let apps = admin.apps().await.unwrap().into_iter().filter(|app| app.status == Some(AppStatus::Active));
    apps.map(|app| app.name).collect()
}

#[tokio::test]
async fn second_instance_gets_app_of_its_own_and_first_one_goes_on() {
    let (broker, directory) = (OwnBroker::start("test").await.unwrap(), tempfile::tempdir().unwrap());
    let (first_file, second_file) = (directory.path().join("1.json"), directory.path().join("2.json"));
    let first = connect(&access(&broker, &first_file), &DEMO).await.unwrap();
    let second = connect(&access(&broker, &second_file), &DEMO).await.unwrap();
    assert_ne!(first.client_id, second.client_id);
    assert_works(&broker, &first_file, &first.client_id).await;
    assert_works(&broker, &second_file, &second.client_id).await;
    let mut names = names(&second.admin.unwrap()).await;
    names.sort();
    assert_eq!(names[0], "demo");
    assert!(names.len() == 2 && names[1].len() == "demo-".len() + 8 && names[1].starts_with("demo-"), "{names:?}");
    broker.stop().await;
}

#[tokio::test]
async fn restart_uses_kept_credentials_also_of_instance_that_still_runs() {
    let (broker, directory) = (OwnBroker::start("test").await.unwrap(), tempfile::tempdir().unwrap());
    let file = directory.path().join("demo.json");
    let running = connect(&access(&broker, &file), &DEMO).await.unwrap();
    let restarted = connect(&access(&broker, &file), &DEMO).await.unwrap();
    assert_eq!(restarted.client_id, running.client_id);
    running.app.agent("demo", "task").scope(["read:data:1"]).unwrap().create().await.unwrap();
    assert_works(&broker, &file, &running.client_id).await;
    assert_eq!(names(&restarted.admin.unwrap()).await, ["demo"]);
    broker.stop().await;
}

#[tokio::test]
async fn simultaneous_starts_with_one_file_register_one_app() {
    let (broker, directory) = (OwnBroker::start("test").await.unwrap(), tempfile::tempdir().unwrap());
    let access = access(&broker, &directory.path().join("demo.json"));
    let starts = (0..3).map(|_| {
        let access = access.clone();
        tokio::spawn(async move { connect(&access, &DEMO).await.unwrap() })
    });
    let mut connected: Vec<ConnectedApp> = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        connected.push(start.await.unwrap());
    }
    assert!(connected.iter().all(|app| app.client_id == connected[0].client_id));
    assert_eq!(names(connected[0].admin.as_ref().unwrap()).await, ["demo"]);
    broker.stop().await;
}

#[tokio::test]
async fn credentials_that_broker_no_longer_accepts_are_replaced() {
    let (broker, directory) = (OwnBroker::start("test").await.unwrap(), tempfile::tempdir().unwrap());
    let file = directory.path().join("demo.json");
    let first = connect(&access(&broker, &file), &DEMO).await.unwrap();
    let admin = first.admin.unwrap();
    admin.delete_app(&admin.apps().await.unwrap()[0].app_id).await.unwrap();

    let without_operator = BrokerAccess { admin_secret: None, ..access(&broker, &file) };
    let error = connect(&without_operator, &DEMO).await.unwrap_err().to_string();
    assert!(error.contains("AGENTWRIT_ADMIN_SECRET"), "{error}");
    let second = connect(&access(&broker, &file), &DEMO).await.unwrap();
    assert_ne!(second.client_id, first.client_id);
    assert_works(&broker, &file, &second.client_id).await;
    broker.stop().await;
}

#[tokio::test]
async fn given_credentials_are_used_and_no_file_is_written() {
    let (broker, directory) = (OwnBroker::start("test").await.unwrap(), tempfile::tempdir().unwrap());
    let admin = connect(&broker.access(), &DEMO).await.unwrap().admin.unwrap();
    let own = agentwrit_client::NewApp::new("own", ["read:data:1"]).unwrap();
    let own = admin.create_app(&own).await.unwrap();
    let credentials = AppCredentials { client_id: own.record.client_id.clone(), client_secret: own.client_secret };
    let file = directory.path().join("demo.json");
    let given = BrokerAccess { credentials: Some(credentials), ..access(&broker, &file) };
    let connected = connect(&given, &DEMO).await.unwrap();
    assert_eq!(connected.client_id, own.record.client_id);
    connected.app.authenticate().await.unwrap();
    assert!(!file.exists());
    broker.stop().await;
}

#[tokio::test]
async fn wrong_operators_secret_is_an_error_and_no_file_is_written() {
    let (broker, directory) = (OwnBroker::start("test").await.unwrap(), tempfile::tempdir().unwrap());
    let file = directory.path().join("demo.json");
    let wrong = BrokerAccess { admin_secret: Some("wrong".into()), ..access(&broker, &file) };
    let error = connect(&wrong, &DEMO).await.unwrap_err().to_string();
    assert!(error.contains("401"), "{error}");
    assert!(!file.exists());
    broker.stop().await;
}

#[tokio::test]
async fn file_that_others_can_read_is_rejected() {
    use std::os::unix::fs::PermissionsExt;
    let (broker, directory) = (OwnBroker::start("test").await.unwrap(), tempfile::tempdir().unwrap());
    let file = directory.path().join("demo.json");
    connect(&access(&broker, &file), &DEMO).await.unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = connect(&access(&broker, &file), &DEMO).await.unwrap_err().to_string();
    assert!(error.contains("readable by other users"), "{error}");
    broker.stop().await;
}
