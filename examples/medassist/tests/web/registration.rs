//! Connection to a running broker.

use medassist::{
    connect::{BrokerAccess, connect},
    scene::Scene,
};

#[tokio::test]
async fn second_start_finds_registered_app() {
    let scene = Scene::set().await.unwrap();
    let access =
        BrokerAccess { url: scene.broker_url(), credentials: None, admin_secret: Some(scene.admin_secret().clone()) };
    let before = scene.admin().apps().await.unwrap().len();
    connect(&access).await.unwrap();
    connect(&access).await.unwrap();
    assert_eq!(scene.admin().apps().await.unwrap().len(), before, "the scene's own app has the name already");
    scene.strike().await;
}

#[tokio::test]
async fn wrong_secret_is_an_error() {
    let scene = Scene::set().await.unwrap();
    let access =
        BrokerAccess { url: scene.broker_url(), credentials: None, admin_secret: Some("wrong".to_owned().into()) };
    assert!(connect(&access).await.unwrap_err().to_string().contains("401"));
    scene.strike().await;
}
