//! Identity provider of the example: what GitHub Actions, a Kubernetes cluster or SPIRE is for a real workload.

use agentwrit_verify::{Clock as _, SystemClock};
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;

use crate::Failure;

/// Issuer of ID tokens, with one key.
pub(crate) struct IdentityProvider {
    key: SigningKey,
}

impl IdentityProvider {
    /// Issuer of the ID tokens.
    pub(crate) const ISSUER: &str = "https://ci.example";

    pub(crate) fn new() -> Result<Self, Failure> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
        Ok(Self { key: SigningKey::from_bytes(&seed) })
    }

    /// Returns the public key as a JWK set (RFC 7517, RFC 8037).
    pub(crate) fn key_set(&self) -> String {
        let x = BASE64URL_NOPAD.encode(self.key.verifying_key().as_bytes());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "1", "x": x}]})
            .to_string()
    }

    /// Issues the ID token of a job.
    pub(crate) fn id_token(&self, repository: &str, run: u32) -> String {
        let now = SystemClock.now().seconds();
        let claims = json!({
            "iss": Self::ISSUER, "aud": "agentwrit", "sub": format!("repo:{repository}"), "repository": repository,
            "run_id": run.to_string(), "jti": format!("{repository}/{run}"), "iat": now, "exp": now + 300,
        });
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "1"});
        let encoded = |part: &serde_json::Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = BASE64URL_NOPAD.encode(&self.key.sign(signed.as_bytes()).to_bytes());
        format!("{signed}.{signature}")
    }
}
