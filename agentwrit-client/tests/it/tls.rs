//! TLS and mutual TLS with real certificates.

use std::sync::Arc;

use agentwrit_client::{Client, ClientBuilder, ClientError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

const HEALTH: &str = r#"{"status":"ok","version":"1","uptime":1,"db_connected":true,"audit_events_count":1}"#;

/// Certificate authority of one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// Returns a certificate for 127.0.0.1 and its key, both in PEM.
    fn issue(&self, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![String::from("127.0.0.1")]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Returns key and certificate of a client.
    fn identity(&self) -> String {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ClientAuth);
        key + &certificate
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes()).unwrap()).unwrap();
        roots
    }

    /// Starts a healthy server for clients of the authority `clients`, or for all. Returns its URL.
    async fn serve(&self, clients: Option<&Self>) -> String {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let config = match clients {
            Some(clients) => {
                let roots = Arc::new(clients.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
                builder.unwrap().with_client_cert_verifier(verifier)
            }
            None => builder.unwrap().with_no_client_auth(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let length = HEALTH.len();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                    stream.write_all((head + HEALTH).as_bytes()).await.unwrap();
                    stream.shutdown().await.ok();
                }
            }
        });
        url
    }

    fn client(&self, url: &str) -> ClientBuilder {
        Client::builder(url).root_certificate_pem(self.0.pem())
    }
}

async fn unreachable(client: ClientBuilder) -> bool {
    matches!(client.retries(0).build().unwrap().health().await, Err(ClientError::Unreachable { .. }))
}

#[tokio::test]
async fn accepts_broker_with_certificate_of_trusted_authority() {
    let authority = Authority::new();
    let url = authority.serve(None).await;
    assert!(authority.client(&url).build().unwrap().health().await.unwrap().is_ok());
    let others = Authority::new().client(&url).root_certificate_pem(authority.0.pem());
    assert!(others.build().unwrap().health().await.unwrap().is_ok(), "several are trusted");
    let bundle = Authority::new().0.pem() + &authority.0.pem();
    let bundle = Client::builder(&url).root_certificate_pem(bundle);
    assert!(bundle.build().unwrap().health().await.unwrap().is_ok(), "a bundle too");

    assert!(unreachable(Authority::new().client(&url)).await, "another authority");
    assert!(unreachable(Client::builder(&url)).await, "the system's alone");
    let elsewhere = url.replace("127.0.0.1", "localhost");
    assert!(unreachable(authority.client(&elsewhere)).await, "a certificate for another name");
}

#[tokio::test]
async fn presents_client_certificate_on_request() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let url = servers.serve(Some(&clients)).await;
    let known = servers.client(&url).client_identity_pem(clients.identity());
    assert!(known.build().unwrap().health().await.unwrap().is_ok());
    assert!(unreachable(servers.client(&url)).await, "no certificate");
    let foreign = servers.client(&url).client_identity_pem(Authority::new().identity());
    assert!(unreachable(foreign).await, "a certificate of another authority");
    let (certificate, key) = clients.issue(ExtendedKeyUsagePurpose::ServerAuth);
    assert!(unreachable(servers.client(&url).client_identity_pem(key + &certificate)).await, "a server's certificate");
}

#[test]
fn rejects_unusable_certificates() {
    let authority = Authority::new();
    let https = || Client::builder("https://broker.example");
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let (_, other_key) = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let garbage = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    for (builder, field) in [
        (https().root_certificate_pem("garbage"), "root certificate"),
        (https().root_certificate_pem(""), "root certificate"),
        (https().root_certificate_pem(garbage), "root certificate"),
        (https().root_certificate_pem(key.clone()), "root certificate"),
        (https().root_certificate_pem(empty), "root certificate"),
        (https().client_identity_pem("garbage"), "client identity"),
        (https().client_identity_pem(certificate.clone()), "client identity"),
        (https().client_identity_pem(key.clone()), "client identity"),
        (https().client_identity_pem(other_key + &certificate), "TLS configuration"),
    ] {
        let error = builder.build().unwrap_err();
        let ClientError::InvalidInput { field: named, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*named, field, "{error}");
    }
}

/// Certificates have no effect over `http`: the caller expects TLS.
#[test]
fn rejects_certificates_without_tls() {
    let authority = Authority::new();
    let http = || Client::builder("http://127.0.0.1:8080");
    for builder in [http().root_certificate_pem(authority.0.pem()), http().client_identity_pem(authority.identity())] {
        let reason = "certificates are for `https`, and the broker's address is `http`".to_owned();
        assert_eq!(builder.build().unwrap_err(), ClientError::InvalidInput { field: "broker URL", reason });
    }
}

#[test]
fn debug_omits_private_key() {
    let authority = Authority::new();
    let identity = authority.identity();
    let builder = authority.client("https://broker.example").client_identity_pem(identity.clone());
    let shown = format!("{builder:#?} {:#?}", builder.clone().build().unwrap());
    for line in identity.lines().filter(|line| line.len() > 20) {
        assert!(!shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("45, 45, 45"), "PEM as bytes: {shown}");
    assert!(shown.contains("client_identity: true"), "{shown}");
}
