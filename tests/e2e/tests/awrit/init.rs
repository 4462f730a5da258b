//! `awrit init`.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use agentwrit_e2e::{Broker, Run, awrit};

async fn init(directory: &Path, arguments: &[&str]) -> Run {
    awrit(directory, &[], &[&["init"], arguments].concat(), "").await
}

fn secret_in(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().find_map(|line| line.strip_prefix("ADMIN_SECRET=")).unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns true if a broker configured by `config` accepts the secret.
async fn is_accepted(config: &Path, secret: &str) -> bool {
    let config = config.to_str().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start_by_file(directory, config).await;
    let environment = [("AACTL_BROKER_URL", broker.url.as_str()), ("AACTL_ADMIN_SECRET", secret)];
    awrit(broker.directory(), &environment, &["app", "list"], "").await.code == 0
}

#[tokio::test]
async fn dev_mode_writes_secret_to_file() {
    let home = tempfile::tempdir().unwrap();
    let run = init(home.path(), &[]).await;
    let config = home.path().join(".broker/config");
    let text = run.stdout.replace(config.to_str().unwrap(), "CONFIG");
    assert_eq!(
        text,
        "\
Wrote CONFIG, readable by its owner only.

Next:
  AA_CONFIG_PATH=CONFIG agentwrit-broker
  export AACTL_ADMIN_SECRET=$(sed -n 's/^ADMIN_SECRET=//p' CONFIG)
  awrit health
"
    );
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!((mode(&config), mode(config.parent().unwrap())), (0o600, 0o700));
    let secret = secret_in(&config);
    assert_eq!(secret.len(), 64);
    assert!(fs::read_to_string(&config).unwrap().contains("\nMODE=development\n"));
    assert!(is_accepted(&config, &secret).await);
}

#[tokio::test]
async fn prod_mode_writes_hash_and_prints_secret_once() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("etc/config");
    let path = config.to_str().unwrap();
    let run = init(home.path(), &["--mode", "prod", "--config-path", path, "--json"]).await.json();
    assert_eq!((&run["config_path"], &run["mode"]), (&path.into(), &"production".into()));
    let secret = run["admin_secret"].as_str().unwrap();
    assert!(secret_in(&config).starts_with("$2b$12$"));
    assert!(!fs::read_to_string(&config).unwrap().contains(secret));
    assert_eq!(mode(&config), 0o600);
    assert!(is_accepted(&config, secret).await);
}

#[tokio::test]
async fn keeps_existing_file_unless_forced() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    let path = config.to_str().unwrap();
    assert_eq!(init(home.path(), &["--config-path", path]).await.code, 0);
    let first = secret_in(&config);
    let run = init(home.path(), &["--config-path", path]).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(
        run.stderr.ends_with("it exists already\n  hint: give another --config-path, or replace it with --force\n")
    );
    assert_eq!(secret_in(&config), first);
    assert_eq!(init(home.path(), &["--config-path", path, "--force", "--yes"]).await.code, 0);
    assert_ne!(secret_in(&config), first);
    assert_eq!(mode(&config), 0o600);
}
