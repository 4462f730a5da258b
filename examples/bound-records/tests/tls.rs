//! Bound tokens over TLS connections: with a certificate or a raw public key of the agent's key, with another one, with a
//! proof, with nothing.
#![expect(clippy::unwrap_used, reason = "what is unexpected here fails the test")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use agentwrit_verify::{
    Clock as _, PublicKey, Thumbprint,
    proof::{ProofRequest, ProofVerifier},
    testing::TestIssuer,
};
use bound_records::{routes_over_tls, tls};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey as _};
use rcgen::{CertificateParams, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        client::{AlwaysResolvesClientRawPublicKeys, WebPkiServerVerifier},
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
        sign::CertifiedKey,
    },
};

const URL: &str = "https://records.example";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn thumbprint(key: &SigningKey) -> Thumbprint {
    PublicKey::from_bytes(key.verifying_key().as_bytes()).unwrap().thumbprint()
}

fn private_key(key: &SigningKey) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.to_pkcs8_der().unwrap().as_bytes().to_vec()).unwrap()
}

/// How a client proves its key to TLS.
#[derive(Clone, Copy)]
enum Identity<'a> {
    None,
    SelfSigned(&'a SigningKey),
    RawPublicKey(&'a SigningKey),
}

struct Service {
    issuer: TestIssuer,
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    serving: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Service {
    async fn start(clients: tls::ClientKeys) -> Self {
        let issuer = TestIssuer::new();
        let proofs = ProofVerifier::builder().external_url(URL).unwrap().clock(issuer.clock().clone()).build();
        // A service that has just started demands a nonce.
        issuer.clock().advance(Duration::from_secs(6));
        let own = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&own).unwrap();
        let certificate = certificate.der().clone();
        let own = PrivateKeyDer::try_from(own.serialize_der()).unwrap();
        let config = tls::config(vec![certificate.clone()], own, clients).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = tls::TlsListener::new(listener, config).unwrap();
        let routes =
            routes_over_tls(issuer.verifier(), proofs).into_make_service_with_connect_info::<tls::Connection>();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { issuer, address, certificate, serving }
    }

    fn token(&self, key: &SigningKey) -> String {
        self.issuer.bound_token(&["read:records:7"], thumbprint(key))
    }

    fn proof(&self, token: &str, key: &SigningKey) -> String {
        ProofRequest::new("GET", &format!("{URL}/records/7"), self.issuer.clock().now(), [7; 16])
            .access_token(token)
            .sign(key)
    }

    fn client(&self, identity: Identity<'_>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let server = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let builder = builder.with_webpki_verifier(server.unwrap());
        match identity {
            Identity::None => builder.with_no_client_auth(),
            Identity::SelfSigned(key) => {
                let pair = KeyPair::try_from(key.to_pkcs8_der().unwrap().as_bytes()).unwrap();
                let parameters = CertificateParams::new(vec!["any-name".to_owned()]).unwrap();
                let certificate = parameters.self_signed(&pair).unwrap().der().clone();
                builder.with_client_auth_cert(vec![certificate], private_key(key)).unwrap()
            }
            Identity::RawPublicKey(key) => {
                let signing_key = provider.key_provider.load_private_key(private_key(key)).unwrap();
                let public_key = signing_key.public_key().unwrap();
                let identity = CertifiedKey::new(vec![CertificateDer::from(public_key.to_vec())], signing_key);
                let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::new(identity));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        }
    }

    /// Returns the response to `GET /records/7` with these headers.
    async fn get(&self, identity: Identity<'_>, headers: &[(&str, &str)]) -> String {
        let connector = TlsConnector::from(Arc::new(self.client(identity)));
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
        let request = format!("GET /records/7 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        // A server may close without `close_notify`: the response is complete by its length.
        let _end = stream.read_to_end(&mut response).await;
        String::from_utf8(response).unwrap()
    }

    async fn status(&self, identity: Identity<'_>, headers: &[(&str, &str)]) -> String {
        let response = self.get(identity, headers).await;
        response.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn accepts_bound_token_without_proof_when_client_certificate_has_its_key() {
    let service = Service::start(tls::ClientKeys::Certificates).await;
    let agent = key(1);
    let authorization = format!("DPoP {}", service.token(&agent));
    let headers = [("Authorization", authorization.as_str())];
    assert_eq!(service.status(Identity::SelfSigned(&agent), &headers).await, "200");
    assert_eq!(service.status(Identity::SelfSigned(&agent), &headers).await, "200", "nothing is used up");
}

#[tokio::test]
async fn rejects_bound_token_without_proof_when_client_certificate_has_another_key() {
    let service = Service::start(tls::ClientKeys::Certificates).await;
    let authorization = format!("DPoP {}", service.token(&key(1)));
    let headers = [("Authorization", authorization.as_str())];
    for identity in [Identity::SelfSigned(&key(2)), Identity::None] {
        let response = service.get(identity, &headers).await;
        assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
        assert!(response.contains(r#"DPoP error="invalid_dpop_proof", algs="EdDSA Ed25519""#), "{response}");
    }
}

#[tokio::test]
async fn rejects_bound_token_as_bearer_although_client_certificate_has_its_key() {
    let service = Service::start(tls::ClientKeys::Certificates).await;
    let agent = key(1);
    let authorization = format!("Bearer {}", service.token(&agent));
    let response = service.get(Identity::SelfSigned(&agent), &[("Authorization", &authorization)]).await;
    assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
    assert!(response.contains(r#"DPoP error="invalid_token""#), "{response}");
}

#[tokio::test]
async fn accepts_proof_from_client_without_certificate_once() {
    let service = Service::start(tls::ClientKeys::Certificates).await;
    let agent = key(1);
    let token = service.token(&agent);
    let (authorization, proof) = (format!("DPoP {token}"), service.proof(&token, &agent));
    let headers = [("Authorization", authorization.as_str()), ("DPoP", proof.as_str())];
    assert_eq!(service.status(Identity::None, &headers).await, "200");
    assert_eq!(service.status(Identity::None, &headers).await, "401");
    // The thief's own certificate does not help.
    assert_eq!(service.status(Identity::SelfSigned(&key(2)), &headers).await, "401");
}

#[tokio::test]
async fn accepts_bound_token_without_proof_when_client_proves_raw_public_key() {
    let service = Service::start(tls::ClientKeys::RawPublicKeys).await;
    let agent = key(1);
    let authorization = format!("DPoP {}", service.token(&agent));
    let headers = [("Authorization", authorization.as_str())];
    assert_eq!(service.status(Identity::RawPublicKey(&agent), &headers).await, "200");
    assert_eq!(service.status(Identity::RawPublicKey(&key(2)), &headers).await, "401");
}

#[tokio::test]
async fn serves_client_beside_idle_connections_that_hold_every_handshake() {
    let service = Service::start(tls::ClientKeys::Certificates).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(service.address).await.unwrap());
    }
    let agent = key(1);
    let authorization = format!("DPoP {}", service.token(&agent));
    let headers = [("Authorization", authorization.as_str())];
    // A handshake may take 10 s.
    let served = tokio::time::timeout(Duration::from_secs(5), service.status(Identity::SelfSigned(&agent), &headers));
    assert_eq!(served.await.unwrap(), "200");
    // The oldest connection was closed for it, the newest is still in its handshake.
    let (mut oldest, newest) = (idle.remove(0), idle.pop().unwrap());
    assert_eq!(oldest.read(&mut [0]).await.unwrap_or_default(), 0);
    assert_eq!(newest.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
