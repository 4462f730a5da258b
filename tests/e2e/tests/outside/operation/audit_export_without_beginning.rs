//! `awrit audit verify` of a file that lacks the beginning of the trail.

use std::fs;

use agentwrit_e2e::{Broker, Run, awrit};
use tempfile::TempDir;

/// An export of some events.
async fn export() -> (TempDir, Vec<String>) {
    let broker = Broker::start().await;
    for _ in 0..4 {
        broker.admin_token().await;
    }
    let export = broker.awrit(&["audit", "export"]).await;
    assert_eq!(export.code, 0);
    (tempfile::tempdir().unwrap(), export.stdout.lines().map(str::to_owned).collect())
}

async fn verify(directory: &TempDir, events: &[String], more: &[&str]) -> Run {
    fs::write(directory.path().join("trail.jsonl"), events.join("\n")).unwrap();
    awrit(directory.path(), &[], &[&["audit", "verify", "trail.jsonl"], more].concat(), "").await
}

#[tokio::test]
async fn file_without_beginning_exits_with_3_unless_partial() {
    let (directory, events) = export().await;
    for more in [&[][..], &["--from-beginning"]] {
        assert_eq!(verify(&directory, &events, more).await.code, 0, "{more:?}");
        let run = verify(&directory, &events[2..], more).await;
        assert_eq!(run.code, 3, "{more:?}: {}", run.stdout);
        assert!(
            run.stdout.contains("BROKEN: it begins with `evt-000003`: earlier events are missing"),
            "{}",
            run.stdout
        );
    }
    let run = verify(&directory, &events[2..], &["--partial"]).await;
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(
        run.stdout.contains("holds from the first of these events on; earlier events are not included"),
        "{}",
        run.stdout
    );
    let json = verify(&directory, &events[2..], &["--json"]).await;
    assert_eq!(json.code, 3);
    assert!(json.stdout.contains("\"from_the_beginning\": false"), "{}", json.stdout);
    assert_eq!(verify(&directory, &events, &["--partial", "--from-beginning"]).await.code, 2);
}

#[tokio::test]
async fn earlier_export_supplies_beginning_by_default() {
    let (directory, events) = export().await;
    fs::write(directory.path().join("earlier.jsonl"), events[..2].join("\n")).unwrap();
    let continues = ["--continues", "earlier.jsonl"];
    assert_eq!(verify(&directory, &events[2..], &continues).await.code, 0);
    let strict = verify(&directory, &events[2..], &["--from-beginning", "--continues", "earlier.jsonl"]).await;
    assert_eq!(strict.code, 3, "{}", strict.stdout);

    let hash =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["hash"].as_str().unwrap().to_owned();
    let head = format!("evt-000002:{}", hash(&events[1]));
    assert_eq!(verify(&directory, &events[2..], &["--head", &head]).await.code, 0, "it follows the given head");
    let later = format!("evt-000004:{}", hash(&events[3]));
    assert_eq!(verify(&directory, &events[2..], &["--head", &later]).await.code, 3, "its beginning is unknown");
    assert_eq!(verify(&directory, &events[2..], &["--head", &later, "--partial"]).await.code, 0);
}
