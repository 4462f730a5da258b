//! Signing of tokens and delegations, for brokers and tests.

use std::{convert::Infallible, fmt};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer as _, SigningKey as Ed25519Key};

use crate::{
    claims::ClaimSet,
    delegation::{Delegation, DelegationRecord},
    keys::{KeyId, KeySetError, PublicKey},
};

/// An Ed25519 private key that signs tokens. It is wiped when dropped and never printed.
#[derive(Clone)]
pub struct SigningKey {
    key: Ed25519Key,
    public: PublicKey,
}

impl SigningKey {
    /// A key from the 32 secret bytes of RFC 8032 §5.1.5.
    ///
    /// # Errors
    ///
    /// [`KeySetError::SmallOrder`], which no honestly generated seed leads to.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeySetError> {
        let key = Ed25519Key::from_bytes(seed);
        let public = PublicKey::from_bytes(key.verifying_key().as_bytes())?;
        Ok(Self { key, public })
    }

    /// Reads an Ed25519 private key from PEM: PKCS #8 (RFC 8410 §7), as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    ///
    /// [`SigningKeyError`] when there is no such key, or more than one.
    #[cfg(feature = "http-client")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http-client")))]
    pub fn from_pkcs8_pem(pem: &[u8]) -> Result<Self, SigningKeyError> {
        /// `OneAsymmetricKey` of version 1 with the algorithm Ed25519, up to the 32 bytes of the key.
        const START: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let der = crate::http_client::pem::private_key(pem)?.der;
        let seed = der.strip_prefix(&START).and_then(|seed| seed.try_into().ok());
        Self::from_seed(seed.ok_or(SigningKeyError::OtherAlgorithm)?).map_err(|_| SigningKeyError::OtherAlgorithm)
    }

    /// The key's thumbprint, which its tokens carry as `kid`.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        self.public.id()
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The Ed25519 signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// A compact JWS with header `{"alg":"EdDSA","typ":"JWT","kid":…}`.
    #[must_use]
    pub fn sign_token(&self, claims: &ClaimSet) -> String {
        // Strings, numbers and lists always serialise.
        self.sign_document("JWT", &serde_json::to_vec(claims).unwrap_or_default())
    }

    /// Returns the length of the token that [`SigningKey::sign_token`] returns, in bytes, without signing.
    #[must_use]
    pub fn token_length(&self, claims: &ClaimSet) -> usize {
        let payload = serde_json::to_vec(claims).unwrap_or_default().len();
        [self.header("JWT").len(), payload, 64]
            .iter()
            .fold(2, |length, part| BASE64URL_NOPAD.encode_len(*part).saturating_add(length))
    }

    /// Signs one more hop of a delegation: the record to append to `chain` in a token of `issuer`, whose `chain_hash`
    /// is then that of the longer chain ([`delegation::chain_hash`](crate::delegation::chain_hash)).
    ///
    /// Nothing is checked here. A token is accepted only when the hop also follows the rules of
    /// [`delegation`](crate::delegation): depth, scopes, times and delegator.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agentwrit_verify::{
    ///     AgentId, ScopeSet, TokenId, UnixTime,
    ///     delegation::{Delegation, chain_hash},
    ///     issue::SigningKey,
    /// };
    ///
    /// let key = SigningKey::from_seed(&[7; 32])?;
    /// let mut chain = Vec::new();
    /// chain.push(key.sign_delegation("https://agentwrit.local", &chain, Delegation {
    ///     agent: AgentId::parse("spiffe://agentwrit.local/agent/orch/task/0123456789abcdef")?,
    ///     scope: ScopeSet::parse(["read:records:*"])?,
    ///     delegated_at: UnixTime::parse_rfc3339("2026-11-21T08:00:00Z")?,
    ///     delegate: AgentId::parse("spiffe://agentwrit.local/agent/orch/task/fedcba9876543210")?,
    ///     sid: TokenId::parse("000102030405060708090a0b0c0d0e0f")?,
    ///     expires_at: UnixTime::parse_rfc3339("2026-11-21T08:05:00Z")?,
    /// }));
    /// assert_eq!(chain_hash("https://agentwrit.local", &chain).len(), 64);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn sign_delegation(&self, issuer: &str, chain: &[DelegationRecord], hop: Delegation) -> DelegationRecord {
        hop.signed(issuer, chain, |bytes| self.sign(bytes))
    }

    fn header(&self, media_type: &str) -> String {
        format!(r#"{{"alg":"EdDSA","typ":"{media_type}","kid":"{}"}}"#, self.id())
    }

    /// A compact JWS of another `typ`.
    #[must_use]
    pub fn sign_document(&self, media_type: &str, payload: &[u8]) -> String {
        let length = BASE64URL_NOPAD.encode_len(payload.len());
        let written = self.write_document(media_type, length, |writer| {
            writer.push(payload);
            Ok::<(), Infallible>(())
        });
        written.unwrap_or_else(|never| match never {})
    }

    /// Signs a compact JWS of another `typ` whose payload is written in parts, so that a long one is in memory once.
    /// `length` is the approximate length of the encoded payload in bytes.
    pub(crate) fn write_document<E>(
        &self,
        media_type: &str,
        length: usize,
        payload: impl FnOnce(&mut PayloadWriter<'_>) -> Result<(), E>,
    ) -> Result<String, E> {
        let header = BASE64URL_NOPAD.encode(self.header(media_type).as_bytes());
        let mut document = String::with_capacity(header.len().saturating_add(length).saturating_add(SIGNATURE_ROOM));
        document.push_str(&header);
        document.push('.');
        {
            let encoding = BASE64URL_NOPAD;
            let mut writer = PayloadWriter(encoding.new_encoder(&mut document));
            payload(&mut writer)?;
            writer.0.finalize();
        }
        let signature = self.sign(document.as_bytes());
        document.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut document);
        Ok(document)
    }
}

/// Reason why a text holds no usable private key.
#[cfg(feature = "http-client")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// The PEM holds no private key, or cannot be read.
    #[error(transparent)]
    Pem(#[from] crate::http_client::pem::PemError),
    /// The key is not an Ed25519 key in PKCS #8.
    #[error("the private key is not an Ed25519 key in PKCS #8: make one with `openssl genpkey -algorithm ed25519`")]
    OtherAlgorithm,
}

/// Two dots and an encoded signature, in bytes.
const SIGNATURE_ROOM: usize = 88;

/// Takes the payload of a document: see [`SigningKey::write_document`].
pub(crate) struct PayloadWriter<'d>(data_encoding::Encoder<'d>);

impl PayloadWriter<'_> {
    /// Appends to the payload.
    pub(crate) fn push(&mut self, part: &[u8]) {
        self.0.append(part);
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", self.id()).finish_non_exhaustive()
    }
}
