//! Peers, each through its public entry point and with the same checks: signature, `alg`, `iss`, `aud`, `exp` and `nbf`
//! with five seconds of leeway.
//!
//! - [`jsonwebtoken`](https://docs.rs/jsonwebtoken) 11 with `rust_crypto`: `decode` into a typed claim set. It is
//!   handed the right key; the others look it up by `kid`.
//! - [`jwt-authorizer`](https://docs.rs/jwt-authorizer) 0.15: `Authorizer::check_auth`, what its layer calls, with the
//!   key set given as text. It is built on jsonwebtoken 9, which verifies with `ring`, whose field arithmetic is
//!   assembly.
//! - [`oauth-resource-server`](https://docs.rs/oauth-resource-server) 0.4: `OAuthValidator::validate` with the key set
//!   seeded, so that nothing is fetched. Also on jsonwebtoken 9 and `ring`.
//! - `ed25519-dalek` 3: `verify` alone, on a decoded message and signature. No verifier on this library without tables of known keys can be faster.
//!
//! The two asynchronous ones never wait here, so they are polled once, without a runtime.

use std::error::Error;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use agentwrit_verify::PublicKey;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde::Deserialize;

use crate::corpus::{AUDIENCE, Corpus, ISSUER, LEEWAY, Token};

/// Members of the token, as a service would decode them.
#[derive(Debug, Clone, Deserialize)]
#[expect(dead_code, reason = "read from the token, as a service would, and dropped")]
pub struct PeerClaims {
    iss: String,
    sub: String,
    aud: Vec<String>,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    scope: Vec<String>,
    task_id: String,
    orch_id: String,
    sid: String,
}

/// Peers that are configured for the corpus.
pub struct Peers {
    jsonwebtoken: (jsonwebtoken::DecodingKey, jsonwebtoken::Validation),
    jwt_authorizer: jwt_authorizer::Authorizer<PeerClaims>,
    oauth_resource_server: oauth_resource_server::OAuthValidator,
    dalek: VerifyingKey,
}

impl Peers {
    /// Configures each peer for the corpus's issuer and key set.
    ///
    /// # Errors
    ///
    /// If a peer rejects its configuration.
    pub fn new(corpus: &Corpus) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            jsonwebtoken: jsonwebtoken_for(corpus)?,
            jwt_authorizer: jwt_authorizer_for(corpus)?,
            oauth_resource_server: oauth_resource_server_for(corpus)?,
            dalek: VerifyingKey::from_bytes(only_key(corpus)?.as_bytes())?,
        })
    }

    /// `jsonwebtoken::decode`.
    #[must_use]
    pub fn jsonwebtoken(&self, token: &Token) -> bool {
        let (key, validation) = &self.jsonwebtoken;
        jsonwebtoken::decode::<PeerClaims>(&token.text, key, validation).is_ok()
    }

    /// `jwt_authorizer::Authorizer::check_auth`.
    #[must_use]
    pub fn jwt_authorizer(&self, token: &Token) -> bool {
        at_once(self.jwt_authorizer.check_auth(&token.text)).is_some_and(|checked| checked.is_ok())
    }

    /// `oauth_resource_server::OAuthValidator::validate`.
    #[must_use]
    pub fn oauth_resource_server(&self, token: &Token) -> bool {
        at_once(self.oauth_resource_server.validate(&token.text)).is_some_and(|checked| checked.is_ok())
    }

    /// `ed25519_dalek::VerifyingKey::verify`.
    #[must_use]
    pub fn dalek(&self, token: &Token) -> bool {
        self.dalek_verify(token.signed_part(), &token.signature)
    }

    /// `ed25519_dalek::VerifyingKey::verify` of any message.
    #[must_use]
    pub fn dalek_verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.dalek.verify(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

fn jsonwebtoken_for(corpus: &Corpus) -> Result<(jsonwebtoken::DecodingKey, jsonwebtoken::Validation), Box<dyn Error>> {
    let key = jsonwebtoken::DecodingKey::from_ed_der(only_key(corpus)?.as_bytes());
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.leeway = LEEWAY.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud"]);
    Ok((key, validation))
}

/// Returns `jwt-authorizer`, configured for the corpus.
///
/// # Errors
///
/// If the peer rejects its configuration.
pub fn jwt_authorizer_for(corpus: &Corpus) -> Result<jwt_authorizer::Authorizer<PeerClaims>, Box<dyn Error>> {
    let validation =
        jwt_authorizer::Validation::new().iss(&[ISSUER]).aud(&[AUDIENCE]).exp(true).nbf(true).leeway(LEEWAY.as_secs());
    let building = jwt_authorizer::AuthorizerBuilder::from_jwks_text(corpus.jwks()).validation(validation).build();
    Ok(at_once(building).ok_or("jwt-authorizer waits for something")??)
}

/// Returns `oauth-resource-server`, configured for the corpus.
///
/// # Errors
///
/// If the peer rejects its configuration.
pub fn oauth_resource_server_for(corpus: &Corpus) -> Result<oauth_resource_server::OAuthValidator, Box<dyn Error>> {
    let config = oauth_resource_server::OAuthConfig {
        enabled: true,
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        resource: AUDIENCE.to_owned(),
        leeway_secs: LEEWAY.as_secs(),
        // Scopes are not checked by the other contenders here either.
        allow_unscoped_tokens: true,
        ..oauth_resource_server::OAuthConfig::default()
    };
    let config = config.resolve(oauth_resource_server::KeyNaming::Dotted("oauth"))?.ok_or("disabled")?;
    Ok(oauth_resource_server::OAuthValidator::builder(&config).initial_jwks(corpus.jwks()).build()?)
}

fn only_key(corpus: &Corpus) -> Result<&PublicKey, &'static str> {
    corpus.key_set().iter().next().ok_or("no key")
}

/// Returns the output of a future that never waits.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
