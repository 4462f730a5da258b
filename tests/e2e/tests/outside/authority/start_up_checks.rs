//! Checks at the start: what would hand the broker's authority to others is refused, or pointed out with the file and the
//! remedy.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use agentwrit_e2e::Broker;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn refuses_trusted_proxies_that_add_up_to_all_clients() {
    for networks in ["0.0.0.0/1,128.0.0.0/1", "::/1,8000::/1", "0.0.0.0/1", "2000::/3", "0.0.0.0/0"] {
        let stopped = Broker::refuses_to_start(&[("AA_TRUSTED_PROXIES", networks)]).await;
        let complaint =
            format!("agentwrit-broker: AA_TRUSTED_PROXIES (environment) is `{networks}`: it accepts networks");
        assert!(stopped.output.contains(&complaint), "{}", stopped.output);
    }
}

#[tokio::test]
async fn refuses_admin_secrets_without_variety() {
    for secret in ["aaaaaaaaaaaaaaaa", "abababababababababab", "hunter2hunter2hunter2", "abcdefghijklmnopqrst"] {
        let stopped = Broker::refuses_to_start(&[("AA_ADMIN_SECRET", secret)]).await;
        let complaint = "AA_ADMIN_SECRET (environment) repeats a few characters, or is a sequence of neighbours";
        assert!(stopped.output.contains(complaint), "{}", stopped.output);
        assert!(!stopped.output.contains(secret), "{}", stopped.output);
    }
}

#[tokio::test]
async fn warns_of_a_data_directory_that_others_can_write() {
    let directory = tempfile::tempdir().unwrap();
    chmod(directory.path(), 0o777);
    let broker = Broker::start_in(directory, &[]).await;
    broker.says("[AA:BROKER:WARN]").await;
    let warning = format!(
        "| files | the directory `{}` has mode 0777, so that others can put files in the place of the broker's: run \
         `chmod 700` on it",
        broker.directory().display()
    );
    broker.says(&warning).await;
}

#[tokio::test]
async fn refuses_database_with_second_hard_link_after_a_crash_and_starts_once_it_is_removed() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (token, id) = broker.agent(&admin, &["read:data:x"]).await;
    broker.revoked(&admin, "agent", &id).await;
    let directory = broker.kill().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("data.db");
    fs::hard_link(directory.path().join("data.db"), &other).unwrap();
    // The write-ahead log with the revocation lies beside the first name only.
    for database in [&other, &directory.path().join("data.db")] {
        let settings = [("AA_DB_PATH", database.to_str().unwrap())];
        let stopped = Broker::run_in(directory.path(), &settings, &[]).await;
        assert_eq!(stopped.status.code(), Some(1), "{}", stopped.output);
        let complaint = format!("`{}` has 2 hard links", database.canonicalize().unwrap().display());
        assert!(stopped.output.contains(&complaint), "{}", stopped.output);
        let checked = Broker::run_in(directory.path(), &settings, &["check", "--probe"]).await;
        assert_eq!(checked.status.code(), Some(1), "{}", checked.output);
        assert!(checked.output.contains(&format!("error: {complaint}")), "{}", checked.output);
    }
    fs::remove_file(&other).unwrap();
    let broker = Broker::start_in(directory, &[]).await;
    let validity = broker.post("/v1/token/validate").json(&serde_json::json!({"token": token})).await.json();
    assert_eq!(validity["valid"], false, "{validity}");
}
