//! The README's walkthrough, as it stands there, against the real broker.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::{path::Path, process::Stdio};

use agentwrit_e2e::{ADMIN_SECRET, Broker};
use tokio::process::Command;

/// The shell block that begins with the broker's address.
fn walkthrough() -> &'static str {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```sh\n").find(|block| block.starts_with("B=http")).expect("a walkthrough");
    block.split("```").next().expect("the end of the block")
}

/// Runs a script and gives its standard output; it must succeed and say nothing on standard error.
async fn run(script: &str, directory: &Path) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("bash, curl, jq and openssl are needed");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let (said, complained) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success() && complained.is_empty(), "{}\n{said}\n{complained}", output.status);
    said
}

#[tokio::test]
async fn every_line_of_the_walkthrough_works() {
    let broker = Broker::start().await;
    let (address, rest) = walkthrough().split_once('\n').expect("more than one line");
    assert_eq!(address, "B=http://127.0.0.1:8080", "the broker's default address");
    let script = format!("B=http://{}\n{}", broker.address(), rest.replace("choose-a-long-secret", ADMIN_SECRET));
    let directory = tempfile::tempdir().expect("a temporary directory");

    let said = run(&script, directory.path()).await;
    for expected in [
        r#""status":"ok""#,
        r#""client_id": "wb-"#,
        r#""agent_id": "spiffe://agentwrit.local/agent/demo/task-1/"#,
        r#""valid": true"#,
        r#""revoked":true"#,
        r#""valid":false"#,
        "agent_registered\tsuccess",
        "token_revoked\tsuccess",
    ] {
        assert!(said.contains(expected), "{expected} is missing from:\n{said}");
    }
}
