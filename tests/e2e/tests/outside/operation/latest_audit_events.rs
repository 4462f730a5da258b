//! `awrit audit events`: the latest events by default, times as operators write them, rows that fit the terminal.

use std::process::Stdio;

use agentwrit_e2e::Broker;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

/// A broker with more than two pages of events.
async fn busy() -> (Broker, u64) {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for number in 0..130 {
        broker.create_app(&admin, &format!("app-{number}"), &["read:data:*"]).await;
    }
    let total = broker.get("/v1/audit/events?limit=1").bearer(&admin).await.json()["total"].as_u64().unwrap();
    (broker, total)
}

fn ids(list: &Value) -> Vec<String> {
    let events = list["events"].as_array().unwrap();
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_the_latest_events_with_the_newest_last() {
    let (broker, _) = busy().await;
    let newest =
        async || broker.awrit(&["audit", "events", "--limit", "1", "--json"]).await.json()["total"].as_u64().unwrap();
    let list = broker.awrit(&["audit", "events", "--json"]).await.json();
    let (shown, total) = (ids(&list), newest().await);
    assert_eq!(shown.len(), 100, "what is not for a terminal");
    assert!(total - list["total"].as_u64().unwrap() <= 1, "the login of the second command at most");
    assert_eq!(shown.last().unwrap(), &format!("evt-{:06}", list["total"].as_u64().unwrap()));
    assert!(shown.is_sorted());

    let list = broker.awrit(&["audit", "events", "--last", "3", "--json"]).await.json();
    assert_eq!(ids(&list).len(), 3);
    assert_eq!(ids(&list).last().unwrap(), &format!("evt-{:06}", list["total"].as_u64().unwrap()));
    let filtered =
        broker.awrit(&["audit", "events", "--last", "2", "--event-type", "app_registered", "--json"]).await.json();
    assert_eq!((ids(&filtered).len(), filtered["total"].as_u64()), (2, Some(130)));
    assert!(filtered["events"][1]["detail"].as_str().unwrap().starts_with("app registered"));
    let all = broker.awrit(&["audit", "events", "--last", "5000", "--json"]).await.json();
    assert_eq!(ids(&all).len() as u64, all["total"].as_u64().unwrap());

    let table = broker.awrit(&["audit", "events", "--last", "2"]).await.stdout;
    let more = table.lines().last().unwrap();
    assert!(more.starts_with("the latest 2 of ") && more.ends_with("; --last N lists more"), "{more}");
    for oldest in [&["--offset", "0"][..], &["--limit", "5"], &["--cursor", "0"]] {
        let list = broker.awrit(&[&["audit", "events", "--json"], oldest].concat()).await.json();
        assert_eq!(ids(&list)[0], "evt-000001", "{oldest:?}");
    }
    for together in
        [["--last", "2", "--limit", "5"], ["--last", "2", "--offset", "5"], ["--last", "2", "--cursor", "5"]]
    {
        assert_eq!(broker.awrit(&[&["audit", "events"][..], &together].concat()).await.code, 2, "{together:?}");
    }
}

#[tokio::test]
async fn reads_only_needed_pages_for_latest_events() {
    let (broker, _) = busy().await;
    assert_eq!(broker.awrit(&["audit", "events", "--last", "5"]).await.code, 0);
    let (stopped, _directory) = broker.terminate().await;
    let lines = stopped.output.lines().filter(|line| line.contains("path=/v1/audit/events"));
    // One that `busy` made, one for the number of events, one for the events.
    assert_eq!(lines.count(), 3, "{}", stopped.output);
}

#[tokio::test]
async fn takes_dates_and_times_ago() {
    let broker = Broker::start().await;
    broker.admin_token().await;
    let count = async |arguments: &[&str]| {
        let list = broker.awrit(&[&["audit", "events", "--json"], arguments].concat()).await.json();
        list["total"].as_u64().unwrap()
    };
    let first = broker.awrit(&["audit", "events", "--json", "--limit", "1"]).await.json();
    let timestamp = first["events"][0]["timestamp"].as_str().unwrap().to_owned();
    let (day, _) = timestamp.split_once('T').unwrap();
    for found in [&["--since", "1h"][..], &["--since", day], &["--since", &timestamp, "--until", &timestamp]] {
        assert!(count(found).await >= 1, "{found:?}");
    }
    // The day of the first event includes it, whenever the test runs.
    assert!(count(&["--since", day, "--until", day]).await >= 1);
    for none in [&["--until", "1h"][..], &["--until", "2020-01-01"], &["--since", "2d", "--until", "1d"]] {
        assert_eq!(count(none).await, 0, "{none:?}");
    }
    for wrong in ["yesterday", "1y", "2026-13-01", "h"] {
        assert_eq!(broker.awrit(&["audit", "events", "--since", wrong]).await.code, 2, "{wrong}");
        assert_eq!(broker.awrit(&["audit", "events", "--until", wrong]).await.code, 2, "{wrong}");
    }
}

/// Output of `awrit` on a terminal of that size (`script`, of bsdutils, makes one).
async fn on_terminal(broker: &Broker, columns: u16, lines: u16, arguments: &str) -> String {
    let awrit = broker.awrit_command(&[]);
    let program = awrit.as_std().get_program().to_str().unwrap().to_owned();
    let mut script = tokio::process::Command::new("script");
    script.args(["-qec", &format!("stty rows {lines} cols {columns} -echo; {program} {arguments}"), "/dev/null"]);
    for (name, value) in awrit.as_std().get_envs() {
        script.env(name, value.unwrap());
    }
    script.env("PATH", std::env::var_os("PATH").unwrap()).env("SHELL", "/bin/sh");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut process = script.spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    input.flush().await.unwrap();
    let ended = process.wait_with_output().await.unwrap();
    drop(input);
    String::from_utf8(ended.stdout).unwrap().replace("\r\n", "\n")
}

#[tokio::test]
async fn rows_and_columns_fit_the_terminal() {
    let (broker, _) = busy().await;
    for (columns, lines) in [(60, 24), (80, 24), (80, 50), (132, 43), (220, 60)] {
        let shown = on_terminal(&broker, columns, lines, "audit events").await;
        assert!(shown.lines().all(|line| line.chars().count() <= columns.into()), "{columns} columns:\n{shown}");
        assert!(shown.lines().count() < lines.into(), "{lines} lines:\n{shown}");
        let rows: Vec<&str> = shown.lines().filter(|line| line.starts_with("evt-")).collect();
        assert_eq!(rows.len(), usize::from(lines) - 4, "{shown}");
        if columns >= 80 {
            let whole = |row: &&str| row.contains("app_registered") || row.contains("admin_auth");
            assert!(rows.iter().all(whole), "types are whole:\n{shown}");
            assert!(rows.iter().any(|row| row.contains("app registered")), "details are there:\n{shown}");
        }
    }
}
