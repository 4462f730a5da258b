//! TLS and mutual TLS with the real binary: who gets in, and certificates that change while it runs (contract §8).

use std::{fs, path::Path, process::Command, time::Duration};

use agentwrit_e2e::{ADMIN_SECRET, Broker, Stopped, awrit};
use agentwrit_verify::remote::Follower;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity, tls::Version};
use serde_json::json;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// A certificate authority that exists for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_pem(self.0.pem().as_bytes()).unwrap()
    }

    /// A certificate for 127.0.0.1 and its key, both in PEM.
    fn issue(&self, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![String::from("127.0.0.1")]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn install_server(&self, directory: &Path) {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        fs::write(directory.join("server.pem"), certificate).unwrap();
        fs::write(directory.join("server.key"), key).unwrap();
    }

    fn identity(&self) -> Identity {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ClientAuth);
        Identity::from_pem([key, certificate].concat().as_bytes()).unwrap()
    }

    /// Client that trusts only this authority.
    fn client(&self) -> reqwest::ClientBuilder {
        Client::builder().no_proxy().tls_certs_only([self.certificate()]).timeout(Duration::from_secs(30))
    }
}

const TLS: [(&str, &str); 3] = [("AA_TLS_MODE", "tls"), ("AA_TLS_CERT", "server.pem"), ("AA_TLS_KEY", "server.key")];

fn directory_of(authority: &Authority) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    authority.install_server(directory.path());
    directory
}

async fn health(broker: &Broker, client: &Client) -> reqwest::Result<reqwest::Response> {
    client.get(format!("https://{}/v1/health", broker.address())).send().await
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_served_and_plain_http_is_not() {
    let authority = Authority::new("test authority");
    let broker = Broker::start_in(directory_of(&authority), &TLS).await;
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let client = authority.client().tls_version_min(version).tls_version_max(version).build().unwrap();
        let answer = health(&broker, &client).await.unwrap();
        assert_eq!(answer.status(), 200, "{version:?}");
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=63072000; includeSubDomains");
    }
    let client = authority.client().build().unwrap();
    let login = client.post(format!("https://{}/v1/admin/auth", broker.address()));
    let login = login.json(&json!({ "secret": ADMIN_SECRET })).send().await.unwrap();
    assert_eq!(login.status(), 200);
    // Plain HTTP gets a TLS alert at most, never an answer.
    let plain = client.get(format!("http://{}/v1/health", broker.address())).send().await;
    assert!(plain.is_err(), "{plain:?}");
    let other_client = Authority::new("other authority").client().build().unwrap();
    assert!(health(&broker, &other_client).await.is_err());
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    let authority = Authority::new("test authority");
    let broker = Broker::start_in(directory_of(&authority), &TLS).await;
    // A ClientHello of TLS 1.1 with one suite of its time; the answer is an alert (21), protocol_version (70).
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();
    assert!(matches!(answer.as_slice(), [21, 3, _, 0, 2, 2, _]), "{answer:?}");
}

#[tokio::test]
async fn mutual_tls_accepts_only_certificates_of_client_authority() {
    let (server, clients) = (Authority::new("servers"), Authority::new("clients"));
    let directory = directory_of(&server);
    fs::write(directory.path().join("clients.pem"), clients.0.pem()).unwrap();
    let mtls = [("AA_TLS_MODE", "mtls"), TLS[1], TLS[2], ("AA_TLS_CLIENT_CA", "clients.pem")];
    let broker = Broker::start_in(directory, &mtls).await;

    let known = server.client().identity(clients.identity()).build().unwrap();
    assert_eq!(health(&broker, &known).await.unwrap().status(), 200);
    let unknown = server.client().build().unwrap();
    assert!(health(&broker, &unknown).await.is_err(), "no certificate");
    let foreign = server.client().identity(Authority::new("clients").identity()).build().unwrap();
    assert!(health(&broker, &foreign).await.is_err(), "an authority of the same name");
    let (certificate, key) = clients.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let wrong_purpose = Identity::from_pem([key, certificate].concat().as_bytes()).unwrap();
    let wrong_purpose = server.client().identity(wrong_purpose).build().unwrap();
    assert!(health(&broker, &wrong_purpose).await.is_err(), "a server's certificate");
}

/// A resource server's follower shows its certificate and trusts the broker's authority, on top of the system's.
#[tokio::test]
async fn follower_connects_with_mutual_tls() {
    let (server, clients) = (Authority::new("servers"), Authority::new("clients"));
    let directory = directory_of(&server);
    fs::write(directory.path().join("clients.pem"), clients.0.pem()).unwrap();
    let mtls = [("AA_TLS_MODE", "mtls"), TLS[1], TLS[2], ("AA_TLS_CLIENT_CA", "clients.pem")];
    let broker = Broker::start_in(directory, &mtls).await;
    let address = || {
        let url = format!("https://{}", broker.address());
        Follower::builder(&url).issuer("https://agentwrit.local")
    };
    let (certificate, key) = clients.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let identity = [key, certificate].concat();
    let trusting = || address().root_certificate_pem(server.0.pem());
    let followed = trusting().client_identity_pem(identity.as_str()).start().await.unwrap();
    assert!(followed.verifier().build().is_ready());
    assert!(trusting().start().await.is_err(), "no certificate");
    assert!(
        address().client_identity_pem(identity.as_str()).start().await.is_err(),
        "a broker without a trusted certificate"
    );
}

/// `agentwrit-broker health` in the broker's own environment, with the port that it took and without its health socket: by
/// the network.
async fn own_health(broker: &Broker, settings: &[(&str, &str)], arguments: &[&str]) -> Stopped {
    fs::remove_file(broker.directory().join("data.db.health")).ok();
    let port = broker.address().rsplit(':').next().unwrap();
    let settings = [settings, &[("AA_PORT", port)]].concat();
    Broker::run_in(broker.directory(), &settings, &[&["health"], arguments].concat()).await
}

#[tokio::test]
async fn health_check_accepts_only_configured_certificate() {
    let authority = Authority::new("test authority");
    let broker = Broker::start_in(directory_of(&authority), &TLS).await;
    let healthy = own_health(&broker, &TLS, &[]).await;
    assert!(healthy.status.success() && healthy.output.is_empty(), "{}", healthy.output);

    let (other, _) = authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(broker.directory().join("other.pem"), other).unwrap();
    let impostor = own_health(&broker, &[TLS[0], ("AA_TLS_CERT", "other.pem"), TLS[2]], &[]).await;
    assert_eq!(impostor.status.code(), Some(1));
    assert!(impostor.output.contains("shows another certificate than that in AA_TLS_CERT"), "{}", impostor.output);
    let plain = own_health(&broker, &[], &[]).await;
    assert_eq!(plain.status.code(), Some(1), "{}", plain.output);
}

#[tokio::test]
async fn health_check_sends_client_certificate() {
    let (server, clients) = (Authority::new("servers"), Authority::new("clients"));
    let directory = directory_of(&server);
    fs::write(directory.path().join("clients.pem"), clients.0.pem()).unwrap();
    let (certificate, key) = clients.issue(ExtendedKeyUsagePurpose::ClientAuth);
    fs::write(directory.path().join("probe.pem"), certificate).unwrap();
    fs::write(directory.path().join("probe.key"), key).unwrap();
    let mtls = [("AA_TLS_MODE", "mtls"), TLS[1], TLS[2], ("AA_TLS_CLIENT_CA", "clients.pem")];
    let broker = Broker::start_in(directory, &mtls).await;
    let shown = ["--client-cert", "probe.pem", "--client-key", "probe.key"];
    let healthy = own_health(&broker, &mtls, &shown).await;
    assert!(healthy.status.success(), "{}", healthy.output);
    let own = own_health(&broker, &mtls, &[]).await;
    assert_eq!(own.status.code(), Some(1), "the broker's certificate is not from the clients' authority");
    assert_eq!(own_health(&broker, &mtls, &shown[..2]).await.status.code(), Some(2), "a certificate without its key");
}

#[tokio::test]
async fn awrit_connects_with_tls_and_mutual_tls() {
    let (server, clients) = (Authority::new("servers"), Authority::new("clients"));
    let directory = directory_of(&server);
    fs::write(directory.path().join("servers.pem"), server.0.pem()).unwrap();
    fs::write(directory.path().join("clients.pem"), clients.0.pem()).unwrap();
    let (certificate, key) = clients.issue(ExtendedKeyUsagePurpose::ClientAuth);
    fs::write(directory.path().join("operator.pem"), certificate).unwrap();
    fs::write(directory.path().join("operator.key"), key).unwrap();
    let mtls = [("AA_TLS_MODE", "mtls"), TLS[1], TLS[2], ("AA_TLS_CLIENT_CA", "clients.pem")];
    let broker = Broker::start_in(directory, &mtls).await;
    let url = format!("https://{}", broker.address());
    let operator = [("AACTL_BROKER_URL", url.as_str()), ("AACTL_ADMIN_SECRET", ADMIN_SECRET)];
    let list = async |more: &[&str]| awrit(broker.directory(), &operator, &[&["app", "list"], more].concat(), "").await;

    let known = ["--cacert", "servers.pem", "--cert", "operator.pem", "--key", "operator.key"];
    list(&known).await.is(0, "There is no app: `awrit app register` registers one.", "");
    for (other_client, complaint) in [
        (&known[..2], "awrit: broker cannot be reached: "),
        (
            &known[2..],
            "awrit: broker cannot be reached: the broker's certificate is from an authority that is not trusted",
        ),
        (&["--cacert", "operator.key"], "awrit: `operator.key`: there is no certificate in the PEM"),
        (&["--cacert", "missing.pem"], "awrit: `missing.pem`: No such file or directory (os error 2)"),
    ] {
        let run = list(other_client).await;
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{other_client:?}");
        assert!(run.stderr.starts_with(complaint), "{other_client:?}: {}", run.stderr);
    }
}

#[tokio::test]
async fn reloads_certificates_while_running() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let broker = Broker::start_in(directory_of(&old), &TLS).await;
    let (trusts_old, trusts_new) = (old.client().build().unwrap(), new.client().build().unwrap());
    assert_eq!(health(&broker, &trusts_old).await.unwrap().status(), 200);
    assert!(health(&broker, &trusts_new).await.is_err());

    new.install_server(broker.directory());
    signal_hangup(&broker);
    broker.says("certificates were read again").await;
    assert_eq!(health(&broker, &trusts_new).await.unwrap().status(), 200);
    assert_eq!(health(&broker, &trusts_old).await.unwrap().status(), 200, "the open connection goes on");
    assert!(health(&broker, &old.client().build().unwrap()).await.is_err(), "a new one meets the new certificate");

    // Unusable files change nothing and are logged. No signal is needed.
    fs::write(broker.directory().join("server.pem"), "no certificate").unwrap();
    broker.says("the new certificates cannot be used, the old ones stay").await;
    assert_eq!(health(&broker, &new.client().build().unwrap()).await.unwrap().status(), 200);
    old.install_server(broker.directory());
    broker.says("certificates were read again").await;
    assert_eq!(health(&broker, &old.client().build().unwrap()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn refuses_start_with_mismatched_files() {
    let authority = Authority::new("test authority");
    let directory = directory_of(&authority);
    let (_, other_key) = authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(directory.path().join("other.key"), other_key).unwrap();
    fs::write(directory.path().join("empty.pem"), "").unwrap();
    for (variable, file) in [
        ("AA_TLS_CERT", "empty.pem"),
        ("AA_TLS_CERT", "missing.pem"),
        ("AA_TLS_CERT", "server.key"),
        ("AA_TLS_KEY", "empty.pem"),
        ("AA_TLS_KEY", "server.pem"),
        ("AA_TLS_KEY", "other.key"),
        ("AA_TLS_CLIENT_CA", "empty.pem"),
    ] {
        let mut settings = vec![("AA_TLS_MODE", "mtls"), TLS[1], TLS[2], ("AA_TLS_CLIENT_CA", "server.pem")];
        settings.push((variable, file));
        let stopped = Broker::run_in(directory.path(), &settings, &[]).await;
        assert!(
            !stopped.status.success() && stopped.output.contains("AA_TLS_"),
            "{variable}={file}: {}",
            stopped.output
        );
        assert!(!stopped.output.contains("listening"), "{variable}={file}");
    }
}

fn signal_hangup(broker: &Broker) {
    let sent = Command::new("kill").args(["-HUP", &broker.pid().to_string()]).status().unwrap();
    assert!(sent.success());
}
