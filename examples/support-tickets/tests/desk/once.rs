//! The program with `--once`, and against a running broker.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use agentwrit_broker::{Broker, Config};
use agentwrit_client::{Client, NewApp};
use support_tickets::{TICKETS, desk::CEILING, headless::differences};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_support-tickets"));
    for variable in ["LLM_BASE_URL", "LLM_API_KEY", "LLM_MODEL"] {
        command.env_remove(variable);
    }
    command.arg("--once");
    command
}

fn program(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command().args(["--expiry", "3"]).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn answers_all_prepared_tickets_and_exits_0() {
    let output = program(&[], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for ticket in TICKETS {
        assert!(text.contains(ticket.title), "{text}");
    }
    assert!(text.ends_with("All tickets went as expected.\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_running_broker_and_exits_1_when_its_app_may_do_too_much() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "a secret of this test";
    let broker = Broker::start(Config::for_development(directory.path(), secret).unwrap()).await.unwrap();
    let url = format!("http://{}", broker.local_addr());
    let admin = Client::new(url.clone()).unwrap().admin(secret).unwrap();
    let wide = CEILING.iter().copied().chain(["write:email:external"]);
    for (name, scopes, succeeds) in [("narrow", CEILING.to_vec(), true), ("wide", wide.collect(), false)] {
        let app = admin.create_app(&NewApp::new(name, scopes).unwrap()).await.unwrap();
        let (id, secret) = (app.record.client_id, app.client_secret);
        let url = url.clone();
        let run = move || {
            let credentials = [("AGENTWRIT_CLIENT_ID", &*id), ("AGENTWRIT_CLIENT_SECRET", secret.expose())];
            program(&["--broker", &url], &credentials)
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.success(), succeeds, "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.contains("the app's ceiling allows write:email:external; narrow it"), !succeeds, "{text}");
    }
    broker.shutdown().await;
}

#[test]
fn sigterm_ends_run_in_progress_and_removes_broker_of_its_own() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = command();
    command.args(["--expiry", "300"]).env("TMPDIR", temporary.path()).stdout(Stdio::piped());
    let mut program = command.spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("Natural expiry: ")).unwrap();
    assert_eq!(temporary.path().read_dir().unwrap().count(), 1, "the broker's database and key");
    assert!(Command::new("kill").arg(program.id().to_string()).status().unwrap().success());
    let rest: Vec<_> = lines.collect();
    assert_eq!(program.wait().unwrap().code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("the desk is stopping")), "{rest:?}");
    assert!(!rest.iter().any(|line| line.starts_with("Hostile instructions: ")), "{rest:?}");
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0);
}

#[test]
fn finds_difference_when_run_did_not_finish() {
    assert!(differences(&TICKETS[0], &[], false).contains(&"the run did not finish".to_owned()));
    assert!(differences(&TICKETS[0], &[], true).contains(&"the run did not finish".to_owned()));
}
