//! `awrit audit verify`: intact trails, and the tampering that it names.

use std::{fs, path::PathBuf};

use agentwrit_e2e::{Broker, Run, alter_database, awrit};
use axum::{
    Json, Router,
    routing::{get, post},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::token::token;

/// Export of a small trail, for tests that tamper with it.
struct Trail {
    directory: TempDir,
    events: Vec<String>,
}

impl Trail {
    async fn new() -> Self {
        let broker = Broker::start().await;
        token(&broker).await;
        let export = broker.awrit(&["audit", "export", "--no-session-cache"]).await.stdout;
        Self { directory: tempfile::tempdir().unwrap(), events: export.lines().map(str::to_owned).collect() }
    }

    fn file(&self, name: &str, events: &[String]) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, events.join("\n")).unwrap();
        path
    }

    /// Runs `awrit audit verify` without a broker.
    async fn verify(&self, events: &[String], more: &[&str]) -> Run {
        self.file("trail.jsonl", events);
        awrit(self.directory.path(), &[], &[&["audit", "verify", "trail.jsonl"], more].concat(), "").await
    }
}

#[tokio::test]
async fn accepts_whole_trail() {
    let trail = Trail::new().await;
    trail.verify(&trail.events, &[]).await.is(
        0,
        "\
events  5 (evt-000001 to evt-000005)
chain  holds from the first event on
head  evt-000005:<hash>

Store the head elsewhere: `awrit audit verify --head …` shows later that these events are unchanged.",
        "",
    );
    trail.verify(&[], &[]).await.is(3, "events  none\nchain  BROKEN: there is no event in it", "");
    let stdin = awrit(trail.directory.path(), &[], &["audit", "verify", "-", "--json"], &trail.events.join("\n")).await;
    let json = stdin.json();
    assert_eq!((&json["holds"], &json["events"], &json["fault"]), (&true.into(), &5.into(), &Value::Null));
}

#[tokio::test]
async fn names_first_altered_removed_or_reordered_event() {
    let trail = Trail::new().await;
    let edited = |index: usize, from: &str, to: &str| {
        let mut events = trail.events.clone();
        assert!(events[index].contains(from), "{}", events[index]);
        events[index] = events[index].replace(from, to);
        events
    };
    let without = |index: usize| {
        let mut events = trail.events.clone();
        events.remove(index);
        events
    };
    let mut swapped = trail.events.clone();
    swapped.swap(1, 2);
    let mut twice = trail.events.clone();
    twice.insert(2, twice[1].clone());
    for (events, fault) in [
        (edited(2, "agent registered", "agent Registered"), "`evt-000003` was altered"),
        (edited(3, "success", "denied"), "`evt-000004` was altered"),
        (without(1), "`evt-000002` is missing: `evt-000003` is in its place"),
        (swapped, "`evt-000002` is missing: `evt-000003` is in its place"),
        (twice, "`evt-000003` is missing: `evt-000002` is in its place"),
    ] {
        let run = trail.verify(&events, &[]).await;
        assert_eq!(run.code, 3);
        assert!(run.stdout.contains(&format!("chain   BROKEN: {fault}\n")), "{fault}: {}", run.stdout);
        assert!(!run.stdout.contains("Store the head"));
    }
}

#[tokio::test]
async fn names_line_that_is_not_an_event() {
    let trail = Trail::new().await;
    for (line, reason) in [
        ("nonsense".to_owned(), "a JSON object is expected"),
        (trail.events[2].replacen('{', "{\"x\":1,", 1), "unknown field `x`"),
        (trail.events[2].replacen('{', "{\"detail\":\"\",", 1), "duplicate field `detail`"),
        (format!("{}{}", trail.events[2], "x".repeat(70_000)), "it is longer than 65536 bytes"),
    ] {
        let mut events = trail.events.clone();
        events[2] = line;
        let run = trail.verify(&events, &[]).await;
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{reason}");
        assert!(
            run.stderr.starts_with(&format!("awrit: `trail.jsonl`: line 3 is not an event: {reason}")),
            "{}",
            run.stderr
        );
        assert!(run.stderr.ends_with("  hint: `awrit audit export` writes one event per line\n"), "{}", run.stderr);
    }
}

#[tokio::test]
async fn counts_events_and_lines_across_chunk_borders() {
    let trail = Trail::new().await;
    // Blank lines count as lines and as nothing else: some 3 MiB of them between events.
    let blank = vec![" ".repeat(1000); 1000];
    let spread: Vec<String> =
        trail.events.iter().flat_map(|event| std::iter::once(event.clone()).chain(blank.clone())).collect();
    let run = trail.verify(&spread, &["--json"]).await;
    assert_eq!(run.json()["events"], 5);
    let mut wrong = spread.clone();
    wrong[4500] = "nonsense".to_owned();
    let run = trail.verify(&wrong, &[]).await;
    assert!(
        run.code == 1 && run.stderr.starts_with("awrit: `trail.jsonl`: line 4501 is not an event"),
        "{}",
        run.stderr
    );
    // A fault that comes first is named first.
    wrong[2002] = trail.events[3].clone();
    let run = trail.verify(&wrong, &[]).await;
    assert!(run.code == 3 && run.stdout.contains("`evt-000003` is missing"), "{}", run.stdout);

    let path = trail.file("latin1.jsonl", &trail.events);
    let mut bytes = fs::read(&path).unwrap();
    let third = trail.events[0].len() + trail.events[1].len() + 12;
    bytes[third] = 0xe4;
    fs::write(&path, bytes).unwrap();
    let run = awrit(trail.directory.path(), &[], &["audit", "verify", "latin1.jsonl"], "").await;
    assert!(run.stderr.starts_with("awrit: `latin1.jsonl`: line 3 is not an event: it is not UTF-8"), "{}", run.stderr);
}

#[tokio::test]
async fn compares_trail_with_earlier_export() {
    let trail = Trail::new().await;
    trail.file("earlier.jsonl", &trail.events[..3]);
    let earlier = ["--continues", "earlier.jsonl"];
    // The same trail, longer; and only what came after.
    for events in [&trail.events[..], &trail.events[3..]] {
        let run = trail.verify(events, &earlier).await;
        assert_eq!(run.code, 0, "{}", run.stdout);
        assert!(run.stdout.contains("continuity  unchanged up to evt-000003\n"), "{}", run.stdout);
    }
    let other = Trail::new().await; // as many events, of another broker
    for (events, fault) in [
        (&trail.events[..2], "the trail ends with `evt-000002`, but the earlier export went up to `evt-000003`"),
        (&trail.events[4..], "the trail begins with `evt-000005`: the events between it and `evt-000003` are missing"),
        (&[], "there is no event in it"),
        (&trail.events[1..], "the trail begins with `evt-000002`: the events from `evt-000001` on are missing"),
        (&other.events[..], "`evt-000003` has another hash than it had in the earlier export: the trail was rewritten"),
        (&other.events[3..], "`evt-000004` is not linked to the event before it"),
    ] {
        let run = trail.verify(events, &earlier).await;
        assert_eq!(run.code, 3, "{fault}");
        assert!(run.stdout.contains(fault) && !run.stdout.contains("continuity"), "{fault}: {}", run.stdout);
    }
    trail.file("earlier.jsonl", &[&other.events[..1], &trail.events[1..2]].concat());
    trail.verify(&trail.events, &earlier).await.is(
        3,
        "",
        "awrit: the earlier export `earlier.jsonl` is broken: `evt-000002` is not linked to the event before it",
    );
}

#[tokio::test]
async fn compares_trail_with_recorded_head() {
    let trail = Trail::new().await;
    let hash = |event: &str| serde_json::from_str::<Value>(event).unwrap()["hash"].as_str().unwrap().to_owned();
    let head = format!("evt-000003:{}", hash(&trail.events[2]));
    assert_eq!(trail.verify(&trail.events, &["--head", &head]).await.code, 0);
    let wrong = format!("evt-000003:{}", hash(&trail.events[1]));
    let run = trail.verify(&trail.events, &["--head", &wrong]).await;
    assert!(run.code == 3 && run.stdout.contains("the trail was rewritten"), "{}", run.stdout);
    assert_eq!(trail.verify(&trail.events, &["--head", "evt-000003"]).await.code, 2);
}

#[tokio::test]
async fn reports_altered_database_of_running_broker() {
    let broker = Broker::start().await;
    token(&broker).await;
    let run = broker.awrit(&["audit", "verify"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    alter_database(broker.directory(), "UPDATE audit_events SET detail = 'nothing to see' WHERE seq = 3");
    let run = broker.awrit(&["audit", "verify"]).await;
    assert_eq!(run.code, 3);
    assert!(run.stdout.contains("chain   BROKEN: `evt-000003` was altered"), "{}", run.stdout);
    let export = broker.awrit(&["audit", "export", "-o", "trail.jsonl"]).await;
    assert_eq!(export.code, 3);
    assert!(export.stderr.contains("the trail is broken: `evt-000003` was altered"), "{}", export.stderr);
}

#[tokio::test]
async fn rejects_trail_without_its_beginning() {
    let broker = Broker::start().await;
    token(&broker).await;
    assert_eq!(broker.awrit(&["audit", "export", "-o", "whole.jsonl"]).await.code, 0);
    alter_database(broker.directory(), "DELETE FROM audit_events WHERE seq <= 2");
    let gone = "the trail begins with `evt-000003`: the events from `evt-000001` on are missing";
    for arguments in [&["audit", "verify"][..], &["audit", "verify", "--continues", "whole.jsonl"]] {
        let run = broker.awrit(arguments).await;
        assert!(run.code == 3 && run.stdout.contains(gone), "{run:?}");
    }
    // The export that is there stays: what replaces it must hold.
    let before = fs::read_to_string(broker.directory().join("whole.jsonl")).unwrap();
    let run = broker.awrit(&["audit", "export", "--yes", "-o", "whole.jsonl"]).await;
    assert!(run.code == 3 && run.stderr.contains("`evt-000001` is missing"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(broker.directory().join("whole.jsonl")).unwrap(), before);
    assert_eq!(
        broker.awrit(&["audit", "export", "-o", "other.jsonl"]).await.code,
        3,
        "written, and reported as broken"
    );
    assert!(broker.directory().join("other.jsonl").exists());
}

/// Serves `list` as the audit list of a broker.
async fn with_events(list: Value) -> String {
    let login =
        || async { Json(serde_json::json!({ "access_token": "x", "expires_in": 300, "token_type": "Bearer" })) };
    let events = move || {
        let list = list.clone();
        async move { Json(list) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/admin/auth", post(login)).route("/v1/audit/events", get(events));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn rejects_broker_that_withholds_or_repeats_events() {
    let trail = Trail::new().await;
    let events: Vec<Value> = trail.events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    for (list, code, complaint) in [
        (
            serde_json::json!({ "events": events, "total": 500 }),
            3,
            "the broker reports 500 events, but lists them up to `evt-000005`",
        ),
        (serde_json::json!({ "events": [], "total": 500 }), 3, "there is no event in it"),
        (
            serde_json::json!({ "events": events, "total": 5, "next_cursor": "5" }),
            1,
            "the broker announces more events, but lists no new ones",
        ),
        (
            serde_json::json!({ "events": [], "total": 5, "next_cursor": "5" }),
            1,
            "the broker announces more events, but lists no new ones",
        ),
    ] {
        let url = with_events(list).await;
        let environment = [("AACTL_BROKER_URL", url.as_str()), ("AACTL_ADMIN_SECRET", "secret")];
        let run = awrit(trail.directory.path(), &environment, &["audit", "verify"], "").await;
        assert_eq!(run.code, code, "{run:?}");
        assert!(format!("{}{}", run.stdout, run.stderr).contains(complaint), "{complaint}: {run:?}");
        let run = awrit(trail.directory.path(), &environment, &["audit", "export"], "").await;
        assert_eq!(run.code, code, "{run:?}");
    }
    let url = with_events(serde_json::json!({ "events": [], "total": 5 })).await;
    let environment = [("AACTL_BROKER_URL", url.as_str()), ("AACTL_ADMIN_SECRET", "secret")];
    let late = ["audit", "export", "--after", "evt-000009"];
    let run = awrit(trail.directory.path(), &environment, &late, "").await;
    assert_eq!((run.code, run.stderr.as_str()), (3, "awrit: the trail is broken: it has 5 events, and had 9\n"));
}
