//! TLS handshakes that fail are in the log at the default level, with the reason (C17).

use std::{fs, sync::Arc};

use agentwrit_e2e::{Broker, awrit};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

use crate::certificates::{Authority, MTLS};

/// A DER value (X.690 §8.1).
fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = match content.len() {
        short @ 0..0x80 => vec![u8::try_from(short).unwrap()],
        long @ 0x80..0x100 => vec![0x81, u8::try_from(long).unwrap()],
        longer => [&[0x82][..], &u16::try_from(longer).unwrap().to_be_bytes()].concat(),
    };
    [vec![tag], length, content].concat()
}

fn common_name(name: &str) -> Vec<u8> {
    let attribute = der(0x30, &[&[6, 3, 0x55, 4, 3], &der(0x0c, &[name.as_bytes()])]);
    der(0x30, &[&der(0x31, &[&attribute])])
}

/// A certificate without a version, which is version 1 (RFC 5280 §4.1.2.1), as `openssl x509 -req` makes it without an
/// extension file, and its key.
fn version_1_certificate(issuer: &str, issuer_key: &KeyPair) -> (Vec<u8>, KeyPair) {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let ed25519 = der(0x30, &[&[6, 3, 0x2b, 0x65, 0x70]]);
    let validity = der(0x30, &[&der(0x17, &[b"200101000000Z"]), &der(0x17, &[b"491231235959Z"])]);
    let public_key = key.subject_public_key_info();
    let parts: [&[u8]; 6] =
        [&[2, 1, 7], &ed25519, &common_name(issuer), &validity, &common_name("client"), &public_key];
    let to_be_signed = der(0x30, &parts);
    let signature = issuer_key.sign(&to_be_signed).unwrap();
    (der(0x30, &[&to_be_signed, &ed25519, &der(3, &[&[0], &signature])]), key)
}

/// Shows a client certificate without looking at it: rustls' own check, like `awrit`, refuses version 1 before connecting.
async fn connect_showing(broker: &Broker, roots: &Authority, certificate: Vec<u8>, key: &KeyPair) {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_slice(roots.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(trusted);
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let key = builder.crypto_provider().key_provider.load_private_key(key).unwrap();
    let shown = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
    let config = builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    let stream = TcpStream::connect(broker.address()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    // With TLS 1.3 the refusal follows the client's own end of the handshake.
    if let Ok(mut stream) = connected {
        assert!(stream.read_u8().await.is_err(), "the certificate is refused");
    }
}

#[tokio::test]
async fn reason_is_logged_for_client_certificates_that_are_not_accepted() {
    let server = Authority::new("servers");
    let clients_key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let copy = KeyPair::from_pem(&clients_key.serialize_pem()).unwrap();
    let clients = Authority::with_key("clients", copy);
    let directory = tempfile::tempdir().unwrap();
    server.install_server(directory.path());
    fs::write(directory.path().join("servers.pem"), server.pem()).unwrap();
    fs::write(directory.path().join("clients.pem"), clients.pem()).unwrap();
    clients.install_client(directory.path(), "good");
    Authority::new("others").install_client(directory.path(), "foreign");
    let (certificate, key) = clients.issue(ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(directory.path().join("server-only.pem"), certificate).unwrap();
    fs::write(directory.path().join("server-only.key"), key).unwrap();
    let broker = Broker::start_in(directory, &MTLS).await;
    let url = format!("https://{}", broker.address());

    let health = async |client: &str| {
        let (cert, key) = (format!("{client}.pem"), format!("{client}.key"));
        let mut arguments = vec!["health", "--broker", &url, "--cacert", "servers.pem"];
        if !client.is_empty() {
            arguments.extend(["--cert", &cert, "--key", &key]);
        }
        awrit(broker.directory(), &[], &arguments, "").await.code
    };
    assert_eq!(health("good").await, 0);
    assert!(!broker.output().contains("TLS handshake failed"), "{}", broker.output());
    let logged = async |reason: &str| {
        broker.says(reason).await;
        let output = broker.output();
        let line = output.lines().find(|line| line.contains(reason)).unwrap();
        assert!(line.starts_with("[AA:TLS:WARN]") && line.contains("TLS handshake failed"), "{line}");
    };
    let (certificate, key) = version_1_certificate("clients", &clients_key);
    connect_showing(&broker, &server, certificate, &key).await;
    logged("the client's certificate is not X.509 version 3").await;
    for (client, reason) in [
        ("server-only", "its extended key usage lacks clientAuth"),
        ("foreign", "is from an authority that is not in AA_TLS_CLIENT_CA"),
        ("", "the client shows no certificate, and AA_TLS_MODE is mtls"),
    ] {
        assert_eq!(health(client).await, 1, "{client}");
        logged(reason).await;
    }
}

#[tokio::test]
async fn folds_handshakes_without_tls_into_one_line_and_their_count_at_exit() {
    let server = Authority::new("servers");
    let directory = tempfile::tempdir().unwrap();
    server.install_server(directory.path());
    fs::write(directory.path().join("clients.pem"), server.pem()).unwrap();
    let broker = Broker::start_in(directory, &MTLS).await;
    for _ in 0..200 {
        let mut stream = TcpStream::connect(broker.address()).await.unwrap();
        stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: broker\r\n\r\n").await.unwrap();
        // Until the broker has hung up: then it has judged the handshake.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
    }
    broker.says("the client does not speak TLS").await;
    let (stopped, _directory) = broker.terminate().await;
    let lines: Vec<&str> = stopped.output.lines().filter(|line| line.contains("TLS handshake failed")).collect();
    assert_eq!(lines.len(), 2, "{}", stopped.output);
    assert!(lines[0].contains("count=1,") || lines[0].ends_with("count=1"), "{}", lines[0]);
    assert!(lines[1].contains("count=199"), "{}", lines[1]);
}
