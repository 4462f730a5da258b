//! `mark-restored` and `confirm-clock` change an existing database only, and name it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use agentwrit_e2e::Broker;

const COMMANDS: [&str; 2] = ["mark-restored", "confirm-clock"];

async fn run_on(directory: &Path, database: &str, command: &str) -> agentwrit_e2e::Stopped {
    Broker::run_in(directory, &[("AA_DB_PATH", database)], &[command]).await
}

#[tokio::test]
async fn rejects_missing_database_and_creates_none() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().canonicalize().unwrap().join("typo.db");
    for command in COMMANDS {
        let rejected = run_on(directory.path(), "./typo.db", command).await;
        assert_eq!(rejected.status.code(), Some(1), "{command}: {}", rejected.output);
        let problem = format!("there is no database `{}`: set AA_DB_PATH to", database.display());
        assert!(rejected.output.contains(&problem), "{command}: {}", rejected.output);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{command} creates no file");
    }
}

#[tokio::test]
async fn rejects_empty_database_and_leaves_it_empty() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().canonicalize().unwrap().join("typo.db");
    fs::write(&database, "").unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    for command in COMMANDS {
        let rejected = run_on(directory.path(), "./typo.db", command).await;
        assert_eq!(rejected.status.code(), Some(1), "{command}: {}", rejected.output);
        let problem = format!("the database `{}` is empty: set AA_DB_PATH to", database.display());
        assert!(rejected.output.contains(&problem), "{command}: {}", rejected.output);
        assert_eq!(fs::read(&database).unwrap(), b"", "{command}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{command} creates no file");
    }
}

#[tokio::test]
async fn prints_canonical_path_of_database() {
    let (_, directory) = Broker::start().await.terminate().await;
    std::os::unix::fs::symlink("data.db", directory.path().join("link.db")).unwrap();
    let database = directory.path().canonicalize().unwrap().join("data.db");
    for command in COMMANDS {
        let done = run_on(directory.path(), "./link.db", command).await;
        assert!(done.status.success(), "{command}: {}", done.output);
        let line = format!("database: {}\n", database.display());
        assert!(done.output.contains(&line), "{command}: {}", done.output);
    }
}
