//! Key that a client proved in the handshake of its TLS connection (mutual TLS).

use agentwrit_verify::Thumbprint;

/// Key that the client of a TLS connection proved, in the extensions of its requests: a token that is bound to this key
/// (RFC 9449 §6) needs no proof, since only the owner of the key can make the connection.
///
/// The server that ends the TLS connection inserts it; nothing is read from headers. It belongs only where TLS ends at this
/// service: behind a proxy that ends TLS, the proxy's own key would stand for every client. With the `rustls` feature,
/// `ClientKey::of_connection` reads it, and `ClientKeyVerifier` has clients prove it.
///
/// ```
/// use agentwrit_tower::{ClientKey, verify::Thumbprint};
///
/// fn insert(request: &mut http::Request<()>, proved_by_tls: Thumbprint) {
///     request.extensions_mut().insert(ClientKey::new(proved_by_tls));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey {
    thumbprint: Thumbprint,
}

impl ClientKey {
    /// Takes the thumbprint (RFC 7638) of the key.
    #[must_use]
    pub fn new(thumbprint: Thumbprint) -> Self {
        Self { thumbprint }
    }

    /// Returns the thumbprint of the key.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }
}

#[cfg(feature = "rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
pub use self::with_rustls::{ClientKeyError, ClientKeyVerifier};

#[cfg(feature = "rustls")]
mod with_rustls {
    use std::sync::Arc;

    use agentwrit_verify::PublicKey;
    use rustls::client::danger::HandshakeSignatureValid;
    use rustls::crypto::{
        CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
    };
    use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
    use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
    use rustls::server::{ParsedCertificate, ServerConnection};
    use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

    use super::ClientKey;

    /// `SubjectPublicKeyInfo` of an Ed25519 key up to its 32 bytes (RFC 8410 §4).
    const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

    /// Reason why a client's certificate or raw public key has no key that a token can be bound to.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    #[non_exhaustive]
    pub enum ClientKeyError {
        /// The certificate is not an X.509 certificate of version 3.
        #[error("malformed client certificate: {message}")]
        MalformedCertificate {
            /// Message of the parser.
            message: String,
        },
        /// The key is not an Ed25519 key, or one that signs nothing safely.
        #[error("the client's key is not an Ed25519 key: make the certificate with the agent's registered key")]
        UnsupportedKey,
    }

    impl ClientKey {
        /// Reads the key that the client of this connection proved; `None` for a client without a certificate.
        ///
        /// # Errors
        ///
        /// [`ClientKeyError`] when a token cannot be bound to the client's key.
        pub fn of_connection(connection: &ServerConnection) -> Result<Option<Self>, ClientKeyError> {
            connection.peer_certificates().and_then(<[_]>::first).map(Self::of_peer).transpose()
        }

        /// Reads the key of a peer's certificate, or of its raw public key (RFC 7250), as rustls returns either. The caller
        /// vouches that the peer proved it: rustls does when a handshake is complete.
        ///
        /// # Errors
        ///
        /// [`ClientKeyError`] when a token cannot be bound to the key.
        pub fn of_peer(identity: &CertificateDer<'_>) -> Result<Self, ClientKeyError> {
            // A certificate is longer than its key: 44 bytes that begin so are a raw public key.
            if let Some(key) = ed25519(identity) {
                return Self::of_key(key);
            }
            // The parser that rustls verifies the handshake's signature with: no other one could find another key.
            let certificate = ParsedCertificate::try_from(identity)
                .map_err(|error| ClientKeyError::MalformedCertificate { message: error.to_string() })?;
            let key = certificate.subject_public_key_info();
            Self::of_key(ed25519(&key).ok_or(ClientKeyError::UnsupportedKey)?)
        }

        fn of_key(bytes: &[u8; 32]) -> Result<Self, ClientKeyError> {
            let key = PublicKey::from_bytes(bytes).map_err(|_| ClientKeyError::UnsupportedKey)?;
            Ok(Self::new(key.thumbprint()))
        }
    }

    /// Returns the key of an Ed25519 `SubjectPublicKeyInfo`.
    fn ed25519(info: &[u8]) -> Option<&[u8; 32]> {
        info.strip_prefix(&ED25519_PREFIX)?.try_into().ok()
    }

    /// Verifier of rustls that has clients prove an Ed25519 key, by a self-signed certificate or a raw public key.
    ///
    /// Only the key counts. The certificate's names, validity and issuer are ignored: which agent may use which token is
    /// decided by the token, which is bound to the key. A client without a certificate is connected as well, and sends proofs
    /// or unbound tokens.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use agentwrit_tower::ClientKeyVerifier;
    /// use rustls::{ServerConfig, crypto::CryptoProvider, pki_types::{CertificateDer, PrivateKeyDer}};
    ///
    /// // A provider such as `rustls::crypto::aws_lc_rs::default_provider()`.
    /// fn config(
    ///     provider: Arc<CryptoProvider>,
    ///     chain: Vec<CertificateDer<'static>>,
    ///     key: PrivateKeyDer<'static>,
    /// ) -> Result<ServerConfig, rustls::Error> {
    ///     let clients = ClientKeyVerifier::certificates(&provider);
    ///     let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    ///     builder.with_client_cert_verifier(Arc::new(clients)).with_single_cert(chain, key)
    /// }
    /// ```
    #[derive(Clone, Debug)]
    pub struct ClientKeyVerifier {
        provider: Arc<CryptoProvider>,
        raw_public_keys: bool,
    }

    impl ClientKeyVerifier {
        /// Requests X.509 certificates, such as self-signed ones.
        #[must_use]
        pub fn certificates(provider: &Arc<CryptoProvider>) -> Self {
            Self { provider: Arc::clone(provider), raw_public_keys: false }
        }

        /// Requests raw public keys (RFC 7250), which need TLS 1.3 and clients that know them.
        #[must_use]
        pub fn raw_public_keys(provider: &Arc<CryptoProvider>) -> Self {
            Self { provider: Arc::clone(provider), raw_public_keys: true }
        }
    }

    impl ClientCertVerifier for ClientKeyVerifier {
        fn client_auth_mandatory(&self) -> bool {
            false
        }

        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            &[]
        }

        fn verify_client_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: UnixTime,
        ) -> Result<ClientCertVerified, Error> {
            if self.raw_public_keys && ed25519(end_entity).is_none() {
                return Err(CertificateError::BadEncoding.into());
            }
            let key = ClientKey::of_peer(end_entity);
            key.map(|_| ClientCertVerified::assertion()).map_err(|_| CertificateError::BadEncoding.into())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            if self.raw_public_keys {
                let key = SubjectPublicKeyInfoDer::from(certificate.as_ref());
                verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
            } else {
                verify_tls13_signature(message, certificate, signature, algorithms)
            }
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            self.raw_public_keys
        }
    }
}
