//! Standard streams that are full or closed: the programs end with the exit code of their work and do not panic.

use std::{
    fs::{File, OpenOptions},
    process::Stdio,
};

use agentwrit_e2e::{Broker, awrit_command};
use tokio::process::Command;

/// A device on which every write fails.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// The writing end of a pipe that has no reader.
fn closed() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Open,
    Full,
    Closed,
}

impl Stream {
    fn stdio(self) -> Stdio {
        match self {
            Self::Open => Stdio::null(),
            Self::Full => full().into(),
            Self::Closed => closed().into(),
        }
    }
}

async fn exit_code(mut command: Command, stdout: Stream, stderr: Stream) -> Option<i32> {
    command.stdin(Stdio::null()).stdout(stdout.stdio()).stderr(stderr.stdio());
    command.spawn().unwrap().wait().await.unwrap().code()
}

#[tokio::test]
async fn awrit_keeps_its_exit_code_when_stderr_fails() {
    let broker = Broker::start().await;
    for stderr in [Stream::Full, Stream::Closed] {
        for (arguments, code) in [
            (&["app", "list"][..], 0),
            (&["audit", "export", "--output", "trail.jsonl", "--yes"], 0),
            (&["app", "get", "app-other-0a1b2c"], 1),
            (&["app", "list", "--broker", "http://127.0.0.1:1"], 1),
            (&["no-such-command"], 2),
            (&["app", "remove", "--id", "app-other-0a1b2c"], 2),
            (&["token", "validate", "nonsense"], 3),
            (&["revoke", "--level", "task", "--target", "none", "--yes"], 3),
        ] {
            let ended = exit_code(broker.awrit_command(arguments), Stream::Open, stderr).await;
            assert_eq!(ended, Some(code), "{arguments:?} with stderr {stderr:?}");
        }
    }
    let trail = std::fs::read_to_string(broker.directory().join("trail.jsonl")).unwrap();
    assert!(trail.starts_with("{\"id\":\"evt-000001\""), "{trail}");
}

#[tokio::test]
async fn awrit_exits_with_error_when_stdout_fails() {
    let broker = Broker::start().await;
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["app", "register", "--help"],
        &["completions", "bash"],
        &["app", "list"],
        &["health", "--json"],
        &["audit", "export"],
        &["audit", "events", "--follow"],
        &["init", "--config-path", "config", "--force", "--yes"],
    ] {
        for stderr in [Stream::Open, Stream::Full, Stream::Closed] {
            let ended = exit_code(broker.awrit_command(arguments), Stream::Full, stderr).await;
            assert_eq!(ended, Some(1), "{arguments:?} with full stdout, stderr {stderr:?}");
            let ended = exit_code(broker.awrit_command(arguments), Stream::Closed, stderr).await;
            assert_eq!(ended, Some(141), "{arguments:?} with closed stdout, stderr {stderr:?}");
        }
    }
}

#[tokio::test]
async fn broker_keeps_exit_code_when_stream_fails() {
    let (_, directory) = Broker::start().await.terminate().await;
    let program = |arguments| Broker::program(directory.path(), &[("AA_BIND_ADDRESS", "127.0.0.1")], arguments);
    for stderr in [Stream::Full, Stream::Closed] {
        for (arguments, code) in [
            (&["mark-restored"][..], 0),
            (&["health"], 1),
            (&["--admin-secret", "short"], 1),
            (&["no-such-command"], 2),
            (&["--help"], 0),
        ] {
            let ended = exit_code(program(arguments), Stream::Open, stderr).await;
            assert_eq!(ended, Some(code), "{arguments:?} with stderr {stderr:?}");
        }
    }
    for stderr in [Stream::Open, Stream::Full, Stream::Closed] {
        for (arguments, full, closed) in
            [(&["--help"][..], 1, 141), (&["--version"], 1, 141), (&["mark-restored"], 1, 1)]
        {
            let ended = exit_code(program(arguments), Stream::Full, stderr).await;
            assert_eq!(ended, Some(full), "{arguments:?} with full stdout");
            let ended = exit_code(program(arguments), Stream::Closed, stderr).await;
            assert_eq!(ended, Some(closed), "{arguments:?} with closed stdout");
        }
    }
}

#[tokio::test]
async fn interrupted_export_leaves_no_file() {
    // A broker that accepts connections and does not answer.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let environment = [("AACTL_BROKER_URL", url.as_str()), ("AACTL_ADMIN_SECRET", "secret")];
    for signal in ["-HUP", "-TERM", "-INT"] {
        let directory = tempfile::tempdir().unwrap();
        let export = ["audit", "export", "--output", "trail.jsonl"];
        let mut process = awrit_command(directory.path(), &environment, &export).spawn().unwrap();
        // The request is under way: the signal handlers are in place.
        let (_connection, _) = silent.accept().await.unwrap();
        let pid = process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(process.wait().await.unwrap().code(), Some(1), "{signal}");
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("tmp")), "{signal}: {left:?}");
        assert!(!directory.path().join("trail.jsonl").exists());
    }
}
