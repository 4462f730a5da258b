//! A token that is bound to a key, with proofs for one request each.

use std::error::Error;
use std::time::Duration;

use agentwrit_tower::RequireScope;
use agentwrit_verify::proof::{ProofRequest, ProofVerifier};
use agentwrit_verify::testing::TestIssuer;
use agentwrit_verify::{Clock as _, PublicKey, UnixTime};
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, SigningKey, Verifier as _, VerifyingKey};

const URL: &str = "https://records.clinic.example.com";
/// Number of proofs that the service records.
const REPLAY_CAPACITY: usize = 40_000;
/// Seconds within which the proofs were made.
const SPREAD: u128 = 50;

/// A bound token and proofs.
#[derive(Debug)]
pub struct BoundCorpus {
    issuer: TestIssuer,
    key: SigningKey,
    token: String,
    proofs: Vec<String>,
}

impl BoundCorpus {
    /// Signs `count` proofs for `GET` of a path.
    ///
    /// # Errors
    ///
    /// If the key is none.
    pub fn new(scope: &str, path: &str, count: usize) -> Result<Self, Box<dyn Error>> {
        let issuer = TestIssuer::new();
        let key = SigningKey::from_bytes(&[3; 32]);
        let public = PublicKey::from_bytes(key.verifying_key().as_bytes())?;
        let token = issuer.bound_token(&[scope], public.thumbprint());
        issuer.clock().advance(Duration::from_secs(60));
        let (now, url) = (issuer.clock().now(), format!("{URL}{path}"));
        let count = count as u128;
        let proofs = (0..count).map(|number| {
            let proof = ProofRequest::new("GET", &url, made_at(now, number, count), number.to_be_bytes());
            proof.access_token(&token).sign(&key)
        });
        let proofs = proofs.collect();
        Ok(Self { issuer, key, token, proofs })
    }

    /// Returns the layer of a service that was started a minute ago, and accepts each proof once.
    ///
    /// # Errors
    ///
    /// If the URL is none.
    pub fn layer(&self, scope: &str) -> Result<RequireScope, Box<dyn Error>> {
        let clock = self.issuer.clock();
        clock.set(clock.now().saturating_sub(Duration::from_secs(60)));
        let proofs = ProofVerifier::builder().external_url(URL)?.replay_capacity(REPLAY_CAPACITY);
        let proofs = proofs.clock(clock.clone()).build();
        clock.advance(Duration::from_secs(60));
        Ok(RequireScope::new(scope).verifier(self.issuer.verifier()).proofs(proofs))
    }

    /// Returns the header lines of a request with the proof of this number.
    #[must_use]
    pub fn headers(&self, number: usize) -> String {
        let proof = self.proofs.get(number).map_or("", String::as_str);
        format!("authorization: DPoP {}\r\ndpop: {proof}\r\n", self.token)
    }

    /// Returns the key of the proofs.
    #[must_use]
    pub fn key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }
}

/// Returns the time of one of `count` proofs that were made one after another in the last seconds before `now`.
#[must_use]
pub fn made_at(now: UnixTime, number: u128, count: u128) -> UnixTime {
    let age = SPREAD.saturating_sub(number.saturating_mul(SPREAD) / count.max(1));
    now.saturating_sub(Duration::from_secs(u64::try_from(age).unwrap_or_default()))
}

/// Verifies the signature of a proof and nothing else, with one dalek `verify`.
#[must_use]
pub fn verifies(key: &VerifyingKey, proof: &str) -> bool {
    let Some((message, signature)) = proof.rsplit_once('.') else { return false };
    let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return false };
    let Ok(signature) = Signature::from_slice(&signature) else { return false };
    key.verify(message.as_bytes(), &signature).is_ok()
}
