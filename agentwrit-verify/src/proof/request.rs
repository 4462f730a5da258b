//! Making of proofs, for clients.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::clock::UnixTime;

/// Contents of a proof (RFC 9449 §4.2). Its `Debug` doesn't show the access token.
#[derive(Clone)]
pub struct ProofRequest<'a> {
    method: &'a str,
    url: &'a str,
    issued_at: UnixTime,
    jti: [u8; 16],
    access_token: Option<&'a str>,
    nonce: Option<&'a str>,
}

impl<'a> ProofRequest<'a> {
    /// Takes the method and the absolute URL of the request, the time, and 16 random bytes that are new for each proof.
    /// User name, query and fragment of the URL are left out of the proof.
    #[must_use]
    pub fn new(method: &'a str, url: &'a str, issued_at: UnixTime, jti: [u8; 16]) -> Self {
        Self { method, url, issued_at, jti, access_token: None, nonce: None }
    }

    /// Names the access token that the request presents with the proof.
    #[must_use]
    pub fn access_token(mut self, token: &'a str) -> Self {
        self.access_token = Some(token);
        self
    }

    /// Sets the latest value of `DPoP-Nonce` that this server sent (§8).
    #[must_use]
    pub fn nonce(mut self, nonce: &'a str) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// Signs the proof, the value of the request's `DPoP` header.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let x = BASE64URL_NOPAD.encode(key.verifying_key().as_bytes());
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#);
        let claims = WrittenClaims {
            jti: BASE64URL_NOPAD.encode(&self.jti),
            htm: self.method,
            htu: target_uri(self.url),
            iat: self.issued_at.seconds(),
            ath: self.access_token.map(|token| BASE64URL_NOPAD.encode(&Sha256::digest(token))),
            nonce: self.nonce,
        };
        // Strings and numbers always serialise.
        let payload = serde_json::to_vec(&claims).unwrap_or_default();
        let mut proof = BASE64URL_NOPAD.encode(header.as_bytes());
        proof.push('.');
        BASE64URL_NOPAD.encode_append(&payload, &mut proof);
        let signature = key.sign(proof.as_bytes()).to_bytes();
        proof.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut proof);
        proof
    }
}

impl std::fmt::Debug for ProofRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProofRequest")
            .field("method", &self.method)
            .field("url", &target_uri(self.url))
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct WrittenClaims<'a> {
    jti: String,
    htm: &'a str,
    htu: String,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// Returns the URL without user name, query and fragment.
fn target_uri(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let host_start = rest.bytes().take(authority_end).rposition(|byte| byte == b'@');
    let rest = host_start.and_then(|at| rest.get(at.saturating_add(1)..)).unwrap_or(rest);
    format!("{scheme}://{rest}")
}
