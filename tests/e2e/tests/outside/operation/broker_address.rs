//! Addresses and certificates that do not fit the broker (D9): the message says what is the matter and which flag mends it.

use std::fs;

use agentwrit_e2e::{ADMIN_SECRET, Broker, Run, awrit};

use crate::certificates::{Authority, MTLS, TLS};

async fn list_apps(broker: &Broker, url: &str, more: &[&str]) -> Run {
    let operator = [("AACTL_BROKER_URL", url), ("AACTL_ADMIN_SECRET", ADMIN_SECRET)];
    awrit(broker.directory(), &operator, &[&["app", "list"], more].concat(), "").await
}

#[track_caller]
fn says(run: &Run, complaint: &str, remedy: &str) {
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{}", run.stderr);
    assert!(run.stderr.contains(complaint), "{}", run.stderr);
    assert!(run.stderr.contains("  hint: ") && run.stderr.contains(remedy), "{}", run.stderr);
}

#[tokio::test]
async fn address_without_scheme() {
    let broker = Broker::start().await;
    for address in [broker.address().to_owned(), broker.address().replace("127.0.0.1", "localhost")] {
        let run = list_apps(&broker, &address, &[]).await;
        let complaint = format!("awrit: invalid broker URL: `{address}` has no scheme: write `http://{address}`");
        says(&run, &complaint, "--broker or AACTL_BROKER_URL");
    }
}

#[tokio::test]
async fn https_to_broker_without_tls() {
    let broker = Broker::start().await;
    let run = list_apps(&broker, &broker.url.replace("http://", "https://"), &[]).await;
    says(&run, "the address is `https`, and the broker does not speak TLS", "write `http://…`");
}

#[tokio::test]
async fn http_to_broker_with_tls() {
    let authority = Authority::new("servers");
    let directory = tempfile::tempdir().unwrap();
    authority.install_server(directory.path());
    fs::write(directory.path().join("servers.pem"), authority.pem()).unwrap();
    let broker = Broker::start_in(directory, &TLS).await;
    let run = list_apps(&broker, &broker.url, &[]).await;
    says(&run, "awrit: broker cannot be reached: ", "`https://…`");
    let run = list_apps(&broker, &broker.url, &["--cacert", "servers.pem"]).await;
    says(&run, "certificates are for `https`, and the broker's address is `http`", "`https://…`");
}

#[tokio::test]
async fn mutual_tls_without_cacert_or_cert() {
    let (server, clients) = (Authority::new("servers"), Authority::new("clients"));
    let directory = tempfile::tempdir().unwrap();
    server.install_server(directory.path());
    fs::write(directory.path().join("servers.pem"), server.pem()).unwrap();
    fs::write(directory.path().join("clients.pem"), clients.pem()).unwrap();
    clients.install_client(directory.path(), "operator");
    Authority::new("others").install_client(directory.path(), "foreign");
    let broker = Broker::start_in(directory, &MTLS).await;
    let url = format!("https://{}", broker.address());
    let own = ["--cert", "operator.pem", "--key", "operator.key"];
    let trusted = ["--cacert", "servers.pem"];
    assert_eq!(list_apps(&broker, &url, &[&own[..], &trusted].concat()).await.code, 0);

    let run = list_apps(&broker, &url, &own).await;
    says(&run, "the broker's certificate is from an authority that is not trusted", "with --cacert FILE");
    let foreign = ["--cert", "foreign.pem", "--key", "foreign.key"];
    for certificate in [&[][..], &foreign] {
        let run = list_apps(&broker, &url, &[&trusted[..], certificate].concat()).await;
        says(&run, "awrit: broker cannot be reached: ", "--cert");
    }
    let localhost = url.replace("127.0.0.1", "localhost");
    let run = list_apps(&broker, &localhost, &[&own[..], &trusted].concat()).await;
    says(&run, "the broker's certificate is not accepted", "is the host in --broker or AACTL_BROKER_URL one that");
    let mixed = ["--cert", "operator.pem", "--key", "foreign.key"];
    let run = list_apps(&broker, &url, &[&mixed[..], &trusted].concat()).await;
    says(&run, "awrit: invalid TLS configuration", "--key is the private key of the first certificate in --cert");
}
