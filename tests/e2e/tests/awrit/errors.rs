//! What is said when something is wrong before anything is done.

use agentwrit_e2e::{ADMIN_SECRET, Broker, awrit};

#[tokio::test]
async fn without_the_secret() {
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
async fn the_secret_may_stand_in_a_file_or_come_from_stdin() {
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
async fn addresses_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let secret = [("AACTL_ADMIN_SECRET", "secret")];
    for (address, complaint) in [
        ("broker.example", "awrit: invalid broker URL: relative URL without a base"),
        ("ftp://broker.example", "awrit: invalid broker URL: scheme is neither `http` nor `https`"),
        ("http://user:pass@127.0.0.1:1", "awrit: invalid broker URL: must not hold credentials"),
    ] {
        let run = awrit(directory.path(), &secret, &["app", "list", "--broker", address], "").await;
        assert_eq!((run.code, run.stdout.as_str()), (1, ""));
        assert_eq!(run.stderr.trim_end(), complaint);
    }
}

#[tokio::test]
async fn a_secret_that_would_cross_the_network_in_clear_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let secret = [("AACTL_ADMIN_SECRET", "secret")];
    let far = ["app", "list", "--broker", "http://broker.invalid:8080", "--timeout", "1"];
    let run = awrit(directory.path(), &secret, &far, "").await;
    assert!(
        run.stderr.starts_with("awrit: warning: the admin secret goes to http://broker.invalid:8080 without TLS\n"),
        "{}",
        run.stderr
    );
    let near = ["app", "list", "--broker", "http://127.0.0.1:1"];
    assert!(!awrit(directory.path(), &secret, &near, "").await.stderr.contains("warning"));
}

#[tokio::test]
async fn usage() {
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
