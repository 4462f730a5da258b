//! Errors before the first request, and output that cannot be written or must be escaped.

use std::os::unix::fs::FileTypeExt;

use agentwrit_e2e::{ADMIN_SECRET, Broker, awrit};

#[tokio::test]
async fn reports_missing_or_wrong_admin_secret() {
    let broker = Broker::start().await;
    let at = [("AACTL_BROKER_URL", broker.url.as_str())];
    awrit(broker.directory(), &at, &["app", "list"], "").await.is(
        1,
        "",
        "\
awrit: the admin secret is not set
  hint: set AACTL_ADMIN_SECRET, or name a file with --admin-secret-file",
    );
    let wrong = [("AACTL_BROKER_URL", broker.url.as_str()), ("AACTL_ADMIN_SECRET", "wrong")];
    awrit(broker.directory(), &wrong, &["app", "list"], "").await.is(
        1,
        "",
        "\
awrit: broker refused (401): invalid credentials
  request id: <instance> (the broker's log has more)",
    );
}

#[tokio::test]
async fn reads_admin_secret_from_file_or_stdin() {
    let broker = Broker::start().await;
    let at = [("AACTL_BROKER_URL", broker.url.as_str())];
    let file = broker.directory().join("secret");
    std::fs::write(&file, format!("{ADMIN_SECRET}\n")).unwrap();
    let in_file = ["app", "list", "--admin-secret-file", file.to_str().unwrap()];
    assert_eq!(awrit(broker.directory(), &at, &in_file, "").await.code, 0);
    let on_stdin = ["app", "list", "--admin-secret-file", "-"];
    assert_eq!(awrit(broker.directory(), &at, &on_stdin, ADMIN_SECRET).await.code, 0);
    let missing = ["app", "list", "--admin-secret-file", "nowhere"];
    awrit(broker.directory(), &at, &missing, "").await.is(
        1,
        "",
        "awrit: `nowhere`: No such file or directory (os error 2)",
    );
}

#[tokio::test]
async fn rejects_broker_urls_with_wrong_scheme_or_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let secret = [("AACTL_ADMIN_SECRET", "secret")];
    for (address, complaint) in [
        ("ftp://broker.example", "awrit: invalid broker URL: scheme is `ftp`, not `http` or `https`"),
        ("http://user:pass@127.0.0.1:1", "awrit: invalid broker URL: must not hold credentials"),
    ] {
        let run = awrit(directory.path(), &secret, &["app", "list", "--broker", address], "").await;
        assert_eq!((run.code, run.stdout.as_str()), (1, ""));
        assert_eq!(run.stderr.lines().next(), Some(complaint));
    }
}

#[tokio::test]
async fn warns_when_secret_crosses_network_without_tls() {
    let directory = tempfile::tempdir().unwrap();
    let secret = [("AACTL_ADMIN_SECRET", "secret")];
    let far = ["app", "list", "--broker", "http://broker.invalid:8080", "--timeout", "1"];
    let run = awrit(directory.path(), &secret, &far, "").await;
    assert!(
        run.stderr.starts_with(
            "awrit: warning: requests to http://broker.invalid:8080 are sent without TLS and can be read on the network\n"
        ),
        "{}",
        run.stderr
    );
    for spelt in
        ["HTTP://broker.invalid:1", " http://broker.invalid:1", "http:\\\\broker.invalid:1", "http:broker.invalid:1"]
    {
        let run = awrit(directory.path(), &secret, &["token", "validate", "x", "--broker", spelt], "").await;
        assert!(run.stderr.contains("warning"), "{spelt}: {}", run.stderr);
    }
    for near in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://127.0.0.2:1"] {
        let run = awrit(directory.path(), &secret, &["app", "list", "--broker", near], "").await;
        assert!(!run.stderr.contains("warning"), "{near}: {}", run.stderr);
    }
}

#[tokio::test]
async fn exits_with_2_on_wrong_usage_and_0_on_help() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in
        [&[][..], &["no-such-command"], &["app"], &["health", "--cert", "client.pem"], &["token", "inspect"]]
    {
        let run = awrit(directory.path(), &[], arguments, "").await;
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(run.stderr.contains("Usage: awrit"), "{arguments:?}: {}", run.stderr);
    }
    for arguments in [&["--help"][..], &["app", "register", "--help"], &["--version"]] {
        let run = awrit(directory.path(), &[], arguments, "").await;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    let help = awrit(directory.path(), &[("AACTL_ADMIN_SECRET", "hunter2hunter2")], &["--help"], "").await.stdout;
    assert!(help.contains("Exit codes:") && !help.contains("hunter2"), "{help}");
}

/// Runs `awrit` with a closed stdout; returns exit code and stderr.
async fn with_closed_stdout(broker: &Broker, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = broker.awrit_command(arguments);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stdin(std::process::Stdio::null());
    let ended = command.spawn().unwrap().wait_with_output().await.unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[tokio::test]
async fn exits_with_3_when_stdout_is_closed() {
    let broker = Broker::start().await;
    std::fs::write(broker.directory().join("empty.jsonl"), "").unwrap();
    for arguments in [
        &["token", "validate", "nonsense"][..],
        &["token", "inspect", "nonsense"],
        &["revoke", "--level", "task", "--target", "unknown", "--yes"],
        &["audit", "verify", "empty.jsonl"],
    ] {
        assert_eq!(with_closed_stdout(&broker, arguments).await.0, Some(3), "{arguments:?}");
    }
    for arguments in
        [&["app", "register", "--name", "desk", "--scopes", "read:data:*"][..], &["audit", "verify"], &["app", "list"]]
    {
        assert_eq!(
            with_closed_stdout(&broker, arguments).await.0,
            Some(141),
            "{arguments:?}: like a program ended by SIGPIPE"
        );
    }
    let init = ["init", "--mode", "prod", "--config-path", "config"];
    let (code, complaint) = with_closed_stdout(&broker, &init).await;
    assert_eq!(code, Some(1));
    assert!(complaint.contains("its secret could not be printed"), "{complaint}");
}

#[tokio::test]
async fn escapes_control_characters_of_broker_responses() {
    let body = r#"{"type":"urn:agentwrit:error:unavailable","title":"x","status":503,"detail":"a\u001b]0;b\u009b1m\u061c",
        "instance":"/","error_code":"x","request_id":"\u001b[2J","hint":"\u202e"}"#;
    let response = move || async move { (axum::http::StatusCode::FORBIDDEN, body) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(response)).await });
    let directory = tempfile::tempdir().unwrap();
    let secret = [("AACTL_ADMIN_SECRET", "secret")];
    for arguments in [&["app", "list"][..], &["audit", "events", "--follow"], &["health"]] {
        let run = awrit(directory.path(), &secret, &[arguments, &["--broker", &url]].concat(), "").await;
        assert_eq!(run.code, 1);
        assert!(run.stderr.contains(r"a\u{1b}]0;b\u{9b}1m\u{61c}"), "{}", run.stderr);
        assert!(run.stderr.chars().all(|character| character == '\n' || !character.is_control()), "{}", run.stderr);
    }
}

#[tokio::test]
async fn exports_to_devices_and_through_links() {
    let broker = Broker::start().await;
    let directory = broker.directory();
    std::fs::write(directory.join("old.json"), "old").unwrap();
    std::os::unix::fs::symlink("old.json", directory.join("link.json")).unwrap();
    broker.awrit(&["keys", "export", "-o", "link.json", "--yes"]).await.is(0, "", "");
    assert!(directory.join("link.json").is_symlink());
    assert!(std::fs::read_to_string(directory.join("old.json")).unwrap().contains("\"keys\""));
    broker.awrit(&["keys", "export", "-o", "/dev/null"]).await.is(0, "", "");
    broker.awrit(&["keys", "export", "-o", "/dev/full"]).await.is(
        1,
        "",
        "awrit: `/dev/full`: No space left on device (os error 28)",
    );
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let run = broker.awrit(&["init", "--config-path", "link.json", "--force", "--yes"]).await;
    run.is(1, "", "awrit: `link.json`: it exists and is not a regular file");
}
