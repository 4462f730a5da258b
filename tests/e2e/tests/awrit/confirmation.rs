//! `--wait`, `--dry-run` and `awrit confirmation` against scripted responses.

use std::{path::Path, time::Duration};

use agentwrit_e2e::{Run, awrit_command};
use serde_json::{Value, json};

use crate::stub::{Stub, problem};

const CURSOR: &str = "9f2c.1842";
const CONFIRMATION: &str = "GET /v1/revocations/9f2c.1842/confirmation";
const VERIFIERS: &str = "GET /v1/admin/verifiers";
const REVOKE: [&str; 6] = ["revoke", "--yes", "--level", "task", "--target", "invoice-1"];

fn instance(number: u8) -> String {
    format!("{number:02x}").repeat(16)
}

/// An instance in the list of verifiers.
fn listed(number: u8, cursor: &str) -> Value {
    json!({
        "instance": instance(number), "last_heard": "2026-11-28T14:03:10Z", "cursor": cursor, "behind": 0,
        "bound": 30, "has_current_keys": true,
    })
}

fn verifiers(all: &[(&str, Vec<Value>)]) -> Value {
    let records: Vec<Value> = all
        .iter()
        .map(|(name, instances)| {
            let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
            json!({ "name": name, "public_key": key, "added_at": "2026-11-28T12:00:00Z", "instances": instances })
        })
        .collect();
    json!({ "verifiers": records, "total": all.len() })
}

fn pending(verifier: &str, number: u8, fenced_at: Option<&str>) -> Value {
    json!({
        "verifier": verifier, "instance": instance(number), "last_heard": "2026-11-28T14:03:10Z", "fenced_at": fenced_at,
    })
}

fn confirmation(state: &str, [all, confirmed, fenced]: [u64; 3], pending: &[Value], elapsed: u64) -> Value {
    json!({
        "state": state, "verifiers": all, "confirmed": confirmed, "fenced": fenced, "pending": pending,
        "unenrolled": 2, "elapsed_ms": elapsed,
    })
}

fn revoked(confirmation: Option<Value>) -> Value {
    let mut response = json!({ "revoked": true, "level": "task", "target": "invoice-1", "count": 3, "cursor": CURSOR });
    if let Some(confirmation) = confirmation {
        response["confirmation"] = confirmation;
    }
    response
}

/// One of two instances of `reports-api` is silent, and fenced in the third response.
fn one_fenced() -> Stub {
    let silent = || pending("reports-api", 3, Some("2026-11-28T14:03:41Z"));
    let waits = || confirmation("pending", [3, 2, 0], &[silent()], 12);
    let stub = Stub::default().always("POST /v1/revoke", 200, revoked(Some(waits())));
    let stub = stub.on(CONFIRMATION, move |number| match number {
        0 => (200, confirmation("pending", [3, 2, 0], &[silent()], 2012)),
        _ => (200, confirmation("confirmed", [3, 2, 1], &[], 30_210)),
    });
    let list = verifiers(&[
        ("payments-api", vec![listed(1, CURSOR)]),
        ("reports-api", vec![listed(2, "9f2c.1843"), listed(3, "9f2c.1841")]),
    ]);
    stub.always(VERIFIERS, 200, list)
}

async fn run(stub: &Stub, arguments: &[&str]) -> Run {
    let directory = tempfile::tempdir().unwrap();
    stub.awrit(directory.path(), &[&REVOKE[..], arguments].concat()).await
}

#[tokio::test]
async fn prints_line_per_verifier_and_exits_with_0_when_last_is_fenced() {
    let stub = one_fenced().hold(CONFIRMATION, VERIFIERS);
    let run = run(&stub, &["--wait"]).await;
    let lines: Vec<&str> = run.stdout.lines().collect();
    let [done, payments, waiting, fenced, summary] = lines[..] else { panic!("{}{}", run.stdout, run.stderr) };
    assert_eq!(done, "Revoked task invoice-1. This ended 3 active tokens.");
    assert!(payments.starts_with("  payments-api  1/1 confirmed  ") && payments.ends_with(" ms"), "{payments}");
    assert!(waiting.starts_with("  reports-api   1/2 confirmed  1 pending (last report "), "{waiting}");
    assert!(waiting.ends_with("): rejects every token from 14:03:41Z on"), "{waiting}");
    assert!(fenced.starts_with("  reports-api   1/2 confirmed  30."), "{fenced}");
    assert!(fenced.ends_with(" s, 1 fenced: rejects every token since 14:03:41Z"), "{fenced}");
    assert_eq!(
        summary,
        "Confirmed after 30.2 s by 3 instances, 1 of them fenced. About 2 followers of the feed are not enrolled and not \
         counted."
    );
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(stub.received("POST /v1/revoke")[0].body["wait"], 0);
    assert_eq!(stub.received(CONFIRMATION)[0].query, "wait=25");
}

#[tokio::test]
async fn prints_one_document_with_json() {
    let document = run(&one_fenced(), &["--wait", "--json"]).await.json();
    assert_eq!(document, revoked(Some(confirmation("confirmed", [3, 2, 1], &[], 30_210))));
}

#[tokio::test]
async fn draws_table_anew_on_terminal() {
    let (stub, directory) = (one_fenced().hold(CONFIRMATION, VERIFIERS), tempfile::tempdir().unwrap());
    let url = stub.serve().await;
    let (code, output) = crate::terminal::run_at_terminal(
        &awrit_command(directory.path(), &[("AACTL_BROKER_URL", &url), ("AACTL_ADMIN_SECRET", "secret")], &[]),
        60,
        &[&REVOKE[..], &["--wait"]].concat().join(" "),
        "",
    )
    .await;
    assert_eq!(code, Some(0), "{output}");
    let (before, after) = output.rsplit_once("\u{1b}[2A\u{1b}[J").expect(&output);
    assert!(before.contains("reports-api   1/2 confirmed  1 pending"), "{output}");
    let widest = before.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(60), "a line that breaks would spoil the next table: {output}");
    assert!(after.contains("1 fenced: rejects every token since 14:03:41Z"), "{output}");
    assert!(after.trim_end().ends_with("not counted."), "{output}");
}

#[tokio::test]
async fn exits_with_4_when_limit_is_over() {
    let silent = pending("reports-api", 3, Some("2026-11-28T14:03:41Z"));
    let waits = confirmation("pending", [3, 2, 0], &[silent], 12);
    let stub = Stub::default().always("POST /v1/revoke", 200, revoked(Some(waits.clone())));
    let stub = stub.always(CONFIRMATION, 200, waits.clone());
    let run = run(&stub, &["--wait=0s"]).await;
    assert!(run.stdout.ends_with("not counted.\n") && run.stdout.contains("Confirmed by 2 of 3 instances"), "{run:?}");
    assert_eq!(run.code, 4, "{run:?}");
    assert!(run.stderr.starts_with("awrit: not confirmed yet: reports-api: 1 pending (last report"), "{run:?}");
    assert!(
        run.stderr
            .ends_with("hint: the revocation stands; `awrit confirmation 9f2c.1842 --wait` shows its confirmation\n"),
        "{run:?}"
    );
    let directory = tempfile::tempdir().unwrap();
    let shown = stub.awrit(directory.path(), &["confirmation", CURSOR, "--json"]).await;
    assert_eq!((shown.code, serde_json::from_str::<Value>(&shown.stdout).unwrap()), (4, waits));
}

#[tokio::test]
async fn exits_with_3_when_verifier_without_bound_remains() {
    let unbounded = confirmation("unbounded", [2, 1, 0], &[pending("batch-api", 4, None)], 12);
    let stub = Stub::default().always("POST /v1/revoke", 200, revoked(Some(unbounded.clone())));
    let stub = stub.always(CONFIRMATION, 200, unbounded);
    let run = run(&stub, &["--wait=1s"]).await;
    assert_eq!(run.code, 3, "{run:?}");
    assert!(
        run.stderr.starts_with(
            "awrit: not confirmed: batch-api: 1 pending without a bound: may accept what was revoked until it reports\n"
        ),
        "{run:?}"
    );
    let asked = stub.received(CONFIRMATION).len();
    assert!((1..20).contains(&asked), "{asked} requests in a second");
}

#[tokio::test]
async fn waits_for_verifier_without_bound_that_confirms_later() {
    let unbounded = || confirmation("unbounded", [1, 0, 0], &[pending("batch-api", 4, None)], 12);
    let stub = Stub::default().always("POST /v1/revoke", 200, revoked(Some(unbounded())));
    let stub = stub.on(CONFIRMATION, move |number| match number {
        0 => (200, unbounded()),
        _ => (200, confirmation("confirmed", [1, 1, 0], &[], 250)),
    });
    assert_eq!(run(&stub, &["--wait"]).await.code, 0);
}

#[tokio::test]
async fn goes_on_waiting_when_broker_is_away_for_a_moment() {
    let waits = confirmation("pending", [1, 0, 0], &[pending("a", 1, Some("2026-11-28T14:03:41Z"))], 12);
    let stub = Stub::default().always("POST /v1/revoke", 200, revoked(Some(waits)));
    let stub = stub.on(CONFIRMATION, |number| match number {
        // The client sends each request three times.
        0..3 => (502, json!({})),
        _ => (200, confirmation("confirmed", [1, 1, 0], &[], 4200)),
    });
    let run = run(&stub, &["--wait"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("the wait goes on"), "{run:?}");
}

#[tokio::test]
async fn warns_when_no_verifier_is_enrolled() {
    let confirmed = confirmation("confirmed", [0, 0, 0], &[], 1);
    let stub = Stub::default().always("POST /v1/revoke", 200, revoked(Some(confirmed)));
    let stub = stub.always(VERIFIERS, 200, verifiers(&[]));
    run(&stub, &["--wait"]).await.is(
        0,
        "\
Revoked task invoice-1. This ended 3 active tokens.
Confirmed after 1 ms by 0 instances. About 2 followers of the feed are not enrolled and not counted.",
        "awrit: warning: no verifier is enrolled, so the revocation waited for none; `awrit verifier add` enrols one",
    );
}

#[tokio::test]
async fn says_that_revocation_stands_when_interrupted() {
    let waits = confirmation("pending", [1, 0, 0], &[pending("a", 1, Some("2096-11-28T14:03:41Z"))], 12);
    let stub = Stub::default().always("POST /v1/revoke", 200, revoked(Some(waits.clone())));
    let stub = stub.always(CONFIRMATION, 200, waits);
    let (url, directory) = (stub.serve().await, tempfile::tempdir().unwrap());
    let operator = [("AACTL_BROKER_URL", url.as_str()), ("AACTL_ADMIN_SECRET", "secret")];
    let arguments = [&REVOKE[..], &["--wait"]].concat();
    let process = awrit_command(directory.path(), &operator, &arguments).spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(20), stub.until_received(CONFIRMATION, 2)).await.unwrap();
    let pid = process.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ended = process.wait_with_output().await.unwrap();
    assert_eq!(
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap().as_str()),
        (
            Some(130),
            "awrit: interrupted\n  hint: the revocation stands; `awrit confirmation 9f2c.1842 --wait` shows its confirmation\n"
        )
    );
}

#[tokio::test]
async fn reports_broker_that_revokes_without_cursor() {
    let older = json!({ "revoked": true, "level": "task", "target": "invoice-1", "count": 3 });
    let stub = Stub::default().always("POST /v1/revoke", 200, older);
    run(&stub, &["--wait"]).await.is(
        1,
        "Revoked task invoice-1. This ended 3 active tokens.",
        "\
awrit: the broker does not confirm revocations: it is older than `--wait`
  hint: the revocation stands; verifiers have it within seconds, or reject every token",
    );
}

async fn dry_run(directory: &Path, stub: &Stub) -> Run {
    stub.awrit(directory, &["revoke", "--level", "task", "--target", "invoice-1", "--dry-run"]).await
}

fn api_with_dry_run() -> Value {
    json!({ "components": { "schemas": { "RevocationRequest": { "properties": { "dry_run": { "type": "boolean" } } } } } })
}

#[tokio::test]
async fn dry_run_sends_nothing_to_broker_that_would_revoke() {
    let directory = tempfile::tempdir().unwrap();
    let stub = Stub::default().always("POST /v1/revoke", 200, revoked(None));
    for stub in [stub.clone(), stub.always("GET /v1/openapi.json", 200, json!({ "components": { "schemas": {} } }))] {
        let run = dry_run(directory.path(), &stub).await;
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
        assert!(run.stderr.contains("this broker has none and would revoke, so nothing was sent"), "{run:?}");
        assert!(stub.received("POST /v1/revoke").is_empty());
    }
}

#[tokio::test]
async fn dry_run_shows_what_would_be_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let mut response = revoked(None);
    (response["agents"], response["tasks"], response["dry_run"]) = (2.into(), 1.into(), true.into());
    let stub = Stub::default().always("GET /v1/openapi.json", 200, api_with_dry_run()).always(
        "POST /v1/revoke",
        200,
        response,
    );
    dry_run(directory.path(), &stub).await.is(
        0,
        "Revoking task invoice-1 would end 3 active tokens: 2 agents, 1 task. Nothing was revoked.",
        "",
    );
    assert_eq!(stub.received("POST /v1/revoke")[0].body["dry_run"], true);
}

#[tokio::test]
async fn reports_broker_that_revoked_in_place_of_dry_run() {
    let directory = tempfile::tempdir().unwrap();
    let stub = Stub::default().always("GET /v1/openapi.json", 200, api_with_dry_run()).always(
        "POST /v1/revoke",
        200,
        revoked(None),
    );
    let run = dry_run(directory.path(), &stub).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    assert!(run.stderr.contains("the broker is older than others of its address, and has revoked"), "{run:?}");
}

#[tokio::test]
async fn shows_hint_of_broker_when_outcome_is_unknown() {
    let hint = "find out whether it was done before you send it again";
    let unknown = problem(503, "outcome_unknown", Some(hint));
    let stub = Stub::default().always("POST /v1/admin/apps", 503, unknown);
    let directory = tempfile::tempdir().unwrap();
    let run = stub.awrit(directory.path(), &["app", "register", "--name", "desk", "--scopes", "read:data:*"]).await;
    run.is(1, "", &format!("awrit: broker refused (503): as scripted\n  hint: {hint}"));
    assert_eq!(stub.received("POST /v1/admin/apps").len(), 1, "sent again it could be done twice");
}
