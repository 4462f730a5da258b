//! PEM files that hold several certificates (C3): each counts, or the file is rejected with the line.

use std::fs;

use agentwrit_e2e::{ADMIN_SECRET, Broker, awrit};

use crate::certificates::{Authority, MTLS, TLS};

/// Two files joined by a program that leaves out the line break in between.
fn joined(first: &str, second: &str) -> (String, String) {
    let joined = format!("{}{second}", first.trim_end());
    let line = first.trim_end().lines().count();
    (joined, format!("line {line}: `-----BEGIN …-----` and `-----END …-----` must stand alone in their line"))
}

#[tokio::test]
async fn client_authorities_of_one_bundle_are_all_trusted() {
    let (server, old, new) = (Authority::new("servers"), Authority::new("old clients"), Authority::new("new clients"));
    let directory = tempfile::tempdir().unwrap();
    server.install_server(directory.path());
    fs::write(directory.path().join("servers.pem"), server.pem()).unwrap();
    fs::write(directory.path().join("clients.pem"), [old.pem(), new.pem().replace('\n', "\r\n")].concat()).unwrap();
    old.install_client(directory.path(), "old");
    new.install_client(directory.path(), "new");
    let broker = Broker::start_in(directory, &MTLS).await;
    let url = format!("https://{}", broker.address());
    for client in ["old", "new"] {
        let (cert, key) = (format!("{client}.pem"), format!("{client}.key"));
        let arguments = ["health", "--broker", &url, "--cacert", "servers.pem", "--cert", &cert, "--key", &key];
        let run = awrit(broker.directory(), &[], &arguments, "").await;
        assert_eq!(run.code, 0, "{client}: {}", run.stderr);
    }
}

#[tokio::test]
async fn start_is_refused_with_line_when_certificates_are_joined_without_line_break() {
    let (server, old, new) = (Authority::new("servers"), Authority::new("old clients"), Authority::new("new clients"));
    let directory = tempfile::tempdir().unwrap();
    server.install_server(directory.path());
    let chain = fs::read_to_string(directory.path().join("server.pem")).unwrap();
    for (variable, first, second) in
        [("AA_TLS_CLIENT_CA", old.pem(), new.pem()), ("AA_TLS_CERT", chain.clone(), server.pem())]
    {
        let (text, complaint) = joined(&first, &second);
        fs::write(directory.path().join("joined.pem"), text).unwrap();
        fs::write(directory.path().join("clients.pem"), old.pem()).unwrap();
        let settings = [&MTLS[..], &[(variable, "joined.pem")]].concat();
        let stopped = Broker::run_in(directory.path(), &settings, &[]).await;
        assert!(!stopped.status.success(), "{variable}: {}", stopped.output);
        let expected = format!("{variable}: `joined.pem` cannot be used: {complaint}");
        assert!(stopped.output.contains(&expected), "{variable}: {}", stopped.output);
    }
}

#[tokio::test]
async fn awrit_names_file_and_line_when_certificates_are_joined_without_line_break() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let directory = tempfile::tempdir().unwrap();
    second.install_server(directory.path());
    second.install_client(directory.path(), "operator");
    let (text, complaint) = joined(&first.pem(), &second.pem());
    fs::write(directory.path().join("joined.pem"), text).unwrap();
    fs::write(directory.path().join("both.pem"), [first.pem(), second.pem()].concat()).unwrap();
    let broker = Broker::start_in(directory, &TLS).await;
    let url = format!("https://{}", broker.address());
    let at = [("AACTL_BROKER_URL", url.as_str()), ("AACTL_ADMIN_SECRET", ADMIN_SECRET)];
    for arguments in [
        &["app", "list", "--cacert", "joined.pem"][..],
        &["app", "list", "--cacert", "both.pem", "--cert", "joined.pem", "--key", "operator.key"],
    ] {
        let run = awrit(broker.directory(), &at, arguments, "").await;
        assert_eq!(run.stderr.trim_end(), format!("awrit: `joined.pem`: {complaint}"), "{arguments:?}");
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{arguments:?}");
    }
    let both = awrit(broker.directory(), &at, &["app", "list", "--cacert", "both.pem"], "").await;
    assert_eq!(both.code, 0, "{}", both.stderr);
}
