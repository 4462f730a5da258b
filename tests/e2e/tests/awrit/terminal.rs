//! `awrit` on a terminal: confirmation of destructive commands, and tables that fit its width.

use std::process::Stdio;

use agentwrit_e2e::Broker;
use tokio::io::AsyncWriteExt;

async fn at_terminal(broker: &Broker, columns: u16, arguments: &str, reply: &str) -> (Option<i32>, String) {
    run_at_terminal(&broker.awrit_command(&[]), columns, arguments, reply).await
}

/// Runs the program of `awrit` on a terminal with `columns` (created by `script` of bsdutils) and types `reply`.
pub(crate) async fn run_at_terminal(
    awrit: &tokio::process::Command,
    columns: u16,
    arguments: &str,
    reply: &str,
) -> (Option<i32>, String) {
    let program = awrit.as_std().get_program().to_str().unwrap().to_owned();
    let mut script = tokio::process::Command::new("script");
    script.args(["-qec", &format!("stty rows 40 cols {columns} -echo; {program} {arguments}"), "/dev/null"]);
    for (name, value) in awrit.as_std().get_envs() {
        script.env(name, value.unwrap());
    }
    script.env("PATH", std::env::var_os("PATH").unwrap()).env("SHELL", "/bin/sh");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut process = script.spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    input.write_all(reply.as_bytes()).await.unwrap();
    let ended = process.wait_with_output().await.unwrap();
    drop(input);
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap().replace("\r\n", "\n"))
}

async fn app(broker: &Broker) -> String {
    let register = ["app", "register", "--name", "invoice-desk", "--scopes", "read:invoices:*", "--json"];
    broker.awrit(&register).await.json()["app_id"].as_str().unwrap().to_owned()
}

async fn status(broker: &Broker, id: &str) -> String {
    broker.awrit(&["app", "get", id, "--json"]).await.json()["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn asks_for_confirmation_at_terminal() {
    let broker = Broker::start().await;
    let id = app(&broker).await;
    let remove = format!("app remove --id {id}");
    for no in ["n\n", "\n", "nonsense\n"] {
        let (code, output) = at_terminal(&broker, 100, &remove, no).await;
        assert_eq!(code, Some(1), "{output}");
        assert!(
            output.contains(&format!("Deregister {id}? This ends its tokens and unused launch tokens at once. [y/N] "))
        );
        assert!(output.ends_with("awrit: nothing was done\n"), "{output}");
    }
    assert_eq!(status(&broker, &id).await, "active");
    let (code, output) = at_terminal(&broker, 100, &remove, "y\n").await;
    assert_eq!((code, status(&broker, &id).await.as_str()), (Some(0), "inactive"), "{output}");
}

#[tokio::test]
async fn asks_nothing_with_yes() {
    let broker = Broker::start().await;
    let id = app(&broker).await;
    let (code, output) = at_terminal(&broker, 100, &format!("app remove --id {id} --yes"), "").await;
    assert_eq!(code, Some(0), "{output}");
    assert!(!output.contains("[y/N]"), "{output}");
}

#[tokio::test]
async fn fits_tables_to_terminal_and_cuts_nothing_when_piped() {
    let broker = Broker::start().await;
    app(&broker).await;
    let piped = broker.awrit(&["audit", "events"]).await.stdout;
    let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest(&piped) > 120 && !piped.contains('…'), "{piped}");
    let events = piped.lines().count() - 1;
    for columns in [60, 80, 120] {
        let (_, shown) = at_terminal(&broker, columns, "audit events", "").await;
        assert!(widest(&shown) <= columns.into(), "{columns} columns:\n{shown}");
        assert!(shown.contains('…'));
        assert_eq!(shown.lines().filter(|line| line.starts_with("evt-")).count(), events);
    }
}
