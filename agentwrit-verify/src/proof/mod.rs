//! Proofs of possession of the key of a sender-constrained token (DPoP, RFC 9449), checked offline.
//!
//! 1. A token with [`cnf`](crate::SenderConstraint) is accepted with the scheme `DPoP` and one proof by its key only; one
//!    without, with the scheme `Bearer` only (§7.2).
//! 2. The checks of §4.3 come in this order, cheap ones first: one proof of at most [`MAX_PROOF_LENGTH`] bytes, a strict
//!    JWS, `typ`, `alg`, a public `jwk`, the key of the token, `htm`, `htu`, `iat`, `ath`, the nonce, the signature, and at
//!    last the replay table: only proofs that verified are recorded.
//! 3. `htu` is compared with configured [external URLs](ExternalUrl), never with the request's `Host`.
//! 4. A proof is accepted once by each [`ProofVerifier`]: see [`ReplayTable`]. A verifier that has just started accepts
//!    only proofs that were certainly made since: their `iat` is later than the start and the leeway, or they contain a
//!    nonce of this verifier. Until then it demands the nonce, and clients sign again (§8).
//! 5. Another instance of a service has another table: there a proof can be replayed for the same method and URL until
//!    it is older than the window (§11.1), unless [nonces](ProofVerifierBuilder::nonces) of a key of its own are
//!    demanded.
//!
//! ```
//! use agentwrit_verify::{
//!     Clock, PublicKey, VerifyError,
//!     proof::{PresentedToken, ProofRequest, ProofVerifier, Scheme},
//!     testing::TestIssuer,
//! };
//!
//! let issuer = TestIssuer::new();
//! let key = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
//! let public = PublicKey::from_bytes(key.verifying_key().as_bytes())?;
//! let token = issuer.bound_token(&["read:data:*"], public.thumbprint());
//! let proofs = ProofVerifier::builder()
//!     .external_url("https://api.example.com/records")?
//!     .clock(issuer.clock().clone())
//!     .build();
//! # issuer.clock().advance(std::time::Duration::from_secs(6));
//!
//! // The client:
//! let proof = ProofRequest::new("GET", "https://api.example.com/records/7?page=2", issuer.clock().now(), [9; 16])
//!     .access_token(&token)
//!     .sign(&key);
//!
//! // The service, behind a proxy that strips `/records`:
//! let presented = PresentedToken::new(Scheme::Dpop, &token, "GET", "/7").proof(&proof);
//! assert!(issuer.verifier().verify_presented(&presented, &proofs).is_ok());
//! // A second time it is a replay.
//! assert!(matches!(issuer.verifier().verify_presented(&presented, &proofs), Err(VerifyError::Proof { .. })));
//! // Without the key the token is worth nothing.
//! let stolen = PresentedToken::new(Scheme::Bearer, &token, "GET", "/7");
//! assert!(matches!(issuer.verifier().verify_presented(&stolen, &proofs), Err(VerifyError::ProofRequired { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accepted;
mod builder;
mod error;
#[cfg(feature = "es256")]
mod es256;
mod external_url;
mod key;
mod nonce;
mod presented;
mod replay;
mod request;
mod unverified;
mod verifier;

pub(crate) use self::key::KnownSender;
pub use self::{
    accepted::AcceptedProof,
    builder::{ProofVerifierBuilder, WantsExternalUrl, WantsProofOptions},
    error::ProofError,
    external_url::{ExternalUrl, ExternalUrlError},
    key::ALGORITHMS,
    nonce::NonceKey,
    presented::{PresentedProof, PresentedToken, Scheme},
    replay::{Replay, ReplayTable},
    request::ProofRequest,
    unverified::MAX_PROOF_LENGTH,
    verifier::ProofVerifier,
};
