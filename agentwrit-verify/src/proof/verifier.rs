//! Verifier of proofs: the checks of RFC 9449 §4.3, and those of §7 for tokens.

use std::{fmt, sync::Arc, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::{
    AcceptedProof, ExternalUrl, NonceKey, PresentedProof, PresentedToken, ProofError, Replay, ReplayTable, Scheme,
    external_url::request_path,
    key::{Accepted, KnownSender, ProofKey, PublicJwk},
    unverified::{ProofClaims, UnverifiedProof},
};
use crate::{
    cache::CachedToken,
    clock::{Clock, UnixTime},
    error::VerifyError,
    jws::shorten,
    staleness::ClockReading,
    thumbprint::Thumbprint,
};

/// Checks proofs for one service. Clones are cheap and share the replay table: two that don't share it accept the same
/// proof once each.
#[derive(Clone, Debug)]
pub struct ProofVerifier(pub(super) Arc<ProofRules>);

/// Everything that was decided when the verifier was built, and the proofs that it accepted.
pub(super) struct ProofRules {
    pub(super) urls: Vec<ExternalUrl>,
    pub(super) window: Duration,
    pub(super) leeway: Duration,
    pub(super) requires_proof: bool,
    pub(super) nonces: Option<NonceKey>,
    /// Nonces that show that a proof was made since the start.
    pub(super) own_nonces: NonceKey,
    pub(super) started_at: ClockReading,
    pub(super) replays: Arc<ReplayTable>,
    pub(super) algorithms: Accepted,
    pub(super) clock: Box<dyn Clock>,
}

impl ProofVerifier {
    /// Checks a proof that comes without an access token, as at a token endpoint (§5): by any key, or by the `expected`
    /// one. Returns the thumbprint of its key.
    ///
    /// Anyone can make a key and sign proofs with it, and every accepted proof is recorded. An endpoint for
    /// unauthenticated clients checks their credentials first, and has a verifier of its own.
    ///
    /// # Errors
    ///
    /// [`ProofError`] with the first check that failed.
    pub fn verify_proof(
        &self,
        presented: &PresentedProof<'_>,
        expected: Option<&Thumbprint>,
    ) -> Result<Thumbprint, ProofError> {
        let checked = self.0.check(presented, expected, |_| None, || None, None)?;
        Ok(checked.thumbprint)
    }

    /// Returns the values of `alg` that are accepted, separated by spaces, for the parameter `algs` of a challenge (§7.1).
    #[must_use]
    pub fn algorithms(&self) -> &'static str {
        self.0.algorithms.names()
    }

    /// Returns a nonce for the header `DPoP-Nonce` of a response to an accepted request (§8.2): the client's next proof
    /// then needs no second attempt. `None` when no nonces are demanded.
    #[must_use]
    pub fn fresh_nonce(&self) -> Option<String> {
        let now = self.0.clock.now();
        self.0.nonces.as_ref().map(|nonces| nonces.issue(now))
    }

    /// Returns the configured external URLs.
    #[must_use]
    pub fn external_urls(&self) -> &[ExternalUrl] {
        &self.0.urls
    }

    /// Returns true when tokens that are not sender-constrained are rejected.
    #[must_use]
    pub fn requires_proof(&self) -> bool {
        self.0.requires_proof
    }

    /// Checks that the sender of a verified token may use it. Returns its proof, if it needs one, and those that were
    /// accepted for the request before.
    pub(crate) fn check_sender(
        &self,
        presented: &PresentedToken<'_>,
        verified: &CachedToken,
    ) -> Result<Option<AcceptedProof>, VerifyError> {
        let before = presented.accepted;
        let claims = &verified.claims;
        let rejected = |error| {
            let (subject, token_id) = claims.name();
            Err(match error {
                Some(error) => VerifyError::Proof { error, subject, token_id },
                None if claims.sender_constraint().is_some() => VerifyError::ProofRequired { subject, token_id },
                None => VerifyError::NotSenderConstrained { subject, token_id },
            })
        };
        match (claims.sender_constraint(), presented.scheme) {
            (None, Scheme::Bearer) if !self.0.requires_proof => Ok(before.cloned()),
            (None, Scheme::Bearer | Scheme::Dpop) | (Some(_), Scheme::Bearer) => rejected(None),
            (Some(bound), Scheme::Dpop) if presented.client_key == Some(bound.jkt) => Ok(before.cloned()),
            (Some(bound), Scheme::Dpop) => {
                let ath = || verified.sender.get().map_or_else(|| hash(presented.token), |sender| sender.ath);
                let known = |header: &str| verified.sender.get().filter(|sender| *sender.header == *header);
                match self.0.check(&presented.proof, Some(&bound.jkt), known, || Some(ath()), before) {
                    Ok(Checked { new, text, issued_at, .. }) => {
                        if let Some((header, key)) = new.filter(|(header, _)| header.len() <= KnownSender::MAX_HEADER) {
                            // Another request may have set it in the meantime: it is the same.
                            verified.sender.get_or_init(|| KnownSender {
                                header: header.into(),
                                key,
                                ath: hash(presented.token),
                            });
                        }
                        Ok(Some(AcceptedProof::new(&self.0.replays, (text, issued_at), claims.token_id(), before)))
                    }
                    Err(error) => rejected(Some(error)),
                }
            }
        }
    }
}

/// Returns the hash of a token, as `ath` contains it.
fn hash(token: &str) -> [u8; 43] {
    let mut ath = [0; 43];
    BASE64URL_NOPAD.encode_mut(&Sha256::digest(token), &mut ath);
    ath
}

/// An accepted proof.
struct Checked<'p> {
    thumbprint: Thumbprint,
    text: &'p str,
    issued_at: UnixTime,
    /// Header and key, unless they were known.
    new: Option<(&'p str, ProofKey)>,
}

impl ProofRules {
    /// Performs every check, cheap ones first. `known` returns the sender whose proofs have this header, `ath` the hash of
    /// the access token that the proof must contain; `before` are the proofs that were accepted for the request.
    fn check<'p, 'k>(
        &self,
        presented: &PresentedProof<'p>,
        expected: Option<&Thumbprint>,
        known: impl FnOnce(&str) -> Option<&'k KnownSender>,
        ath: impl FnOnce() -> Option<[u8; 43]>,
        before: Option<&AcceptedProof>,
    ) -> Result<Checked<'p>, ProofError> {
        let text = presented.text()?;
        let proof = UnverifiedProof::decode(text)?;
        // The header of a known sender contains the key that is expected.
        let known = known(proof.header_text()).filter(|sender| self.algorithms.include(&sender.key));
        let known = expected.zip(known);
        let jwk = if known.is_some() { None } else { Some(proof.key(self.algorithms)?) };
        let thumbprint = jwk.as_ref().map(PublicJwk::thumbprint).or(expected.copied()).ok_or(ProofError::WrongKey)?;
        if expected.is_some_and(|expected| *expected != thumbprint) {
            return Err(ProofError::WrongKey);
        }
        let payload = proof.payload()?;
        let claims = ProofClaims::read(&payload)?;
        let now = self.clock.now();
        self.check_target(&claims, presented)?;
        self.check_times(&claims, now)?;
        if let Some(ath) = ath() {
            let found = claims.ath.as_ref().ok_or(ProofError::MissingMember { member: "ath" })?;
            if found.as_bytes() != ath {
                return Err(ProofError::WrongToken);
            }
        }
        self.check_nonce(&claims, now)?;
        let new = jwk.map(|jwk| jwk.decode()).transpose()?;
        let key = new.as_ref().or(known.map(|(_, sender)| &sender.key)).ok_or(ProofError::WrongKey)?;
        if !key.verifies(proof.signing_input(), proof.signature()) {
            return Err(ProofError::BadSignature);
        }
        let recorded = if before.is_some_and(|before| before.is_recorded_in(&self.replays, text)) {
            Replay::Fresh
        } else {
            self.replays.record(&thumbprint, &claims.jti, claims.iat)
        };
        match recorded {
            Replay::Fresh => Ok(Checked {
                thumbprint,
                text,
                issued_at: UnixTime::from_seconds(claims.iat),
                new: new.map(|key| (proof.header_text(), key)),
            }),
            Replay::Replayed => Err(ProofError::Replayed),
            Replay::Superseded => Err(ProofError::Superseded),
        }
    }

    /// Checks 8 and 9: `htm` and `htu`.
    fn check_target(&self, claims: &ProofClaims<'_>, presented: &PresentedProof<'_>) -> Result<(), ProofError> {
        if claims.htm != presented.method {
            return Err(ProofError::WrongMethod { found: shorten(&claims.htm) });
        }
        let path = request_path(presented.path).ok_or(ProofError::AmbiguousPath)?;
        // A proxy passes on the host that the client chose: it names no origin that is not configured.
        let named = presented.received_at.filter(|url| {
            self.urls.is_empty() || (url.has_path() && self.urls.iter().any(|configured| configured.has_origin_of(url)))
        });
        let urls = named.map_or(self.urls.as_slice(), std::slice::from_ref);
        if urls.is_empty() {
            return Err(ProofError::NoExternalUrl);
        }
        if urls.iter().any(|url| url.is_named_by(&claims.htu, &path)) {
            return Ok(());
        }
        let found = claims.htu.chars().take(256).flat_map(agentwrit_json::escape_control).collect();
        Err(ProofError::WrongUrl { found })
    }

    /// Check 11: `iat`, and `exp` and `nbf`, which a proof need not have.
    fn check_times(&self, claims: &ProofClaims<'_>, now: UnixTime) -> Result<(), ProofError> {
        let latest = now.saturating_add(self.leeway).seconds();
        let earliest = now.saturating_sub(self.window).seconds();
        let start = claims.nbf.unwrap_or_default().max(claims.iat);
        if start > latest {
            return Err(ProofError::NotYetValid { by: Duration::from_secs(start.saturating_sub(latest)) });
        }
        if claims.iat < earliest {
            return Err(ProofError::TooOld { by: Duration::from_secs(earliest.saturating_sub(claims.iat)) });
        }
        match claims.exp {
            Some(exp) if exp <= now.seconds() => {
                Err(ProofError::TooOld { by: Duration::from_secs(now.seconds().saturating_sub(exp)) })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns when the process started: by the clock of then or of now, whichever is later.
    fn latest_start(&self, now: UnixTime) -> UnixTime {
        let elapsed = self.clock.monotonic().saturating_duration_since(self.started_at.monotonic);
        self.started_at.wall.max(now.saturating_sub(elapsed))
    }

    /// Check 10: the nonce, if one is demanded. The process that ran before this one may have accepted a proof with an `iat`
    /// of up to its last moment and the leeway: such a proof needs a nonce of this process.
    fn check_nonce(&self, claims: &ProofClaims<'_>, now: UnixTime) -> Result<(), ProofError> {
        let is_of = |key: &NonceKey| {
            claims.nonce.as_ref().is_some_and(|nonce| key.accepts(nonce, now, self.window, self.leeway))
        };
        let is_made_since_start = claims.iat > self.latest_start(now).saturating_add(self.leeway).seconds();
        let demanded = match &self.nonces {
            Some(nonces) if is_made_since_start => nonces,
            None if is_made_since_start => return Ok(()),
            Some(_) | None => &self.own_nonces,
        };
        if is_of(demanded) || is_of(&self.own_nonces) {
            return Ok(());
        }
        Err(ProofError::NonceRequired { nonce: demanded.issue(now) })
    }
}

impl fmt::Debug for ProofRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofRules")
            .field("urls", &self.urls)
            .field("window", &self.window)
            .field("leeway", &self.leeway)
            .field("requires_proof", &self.requires_proof)
            .field("started_at", &self.started_at)
            .field("replays", &self.replays)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{issue::SigningKey, testing::TestIssuer};

    fn encode(text: impl AsRef<[u8]>) -> String {
        data_encoding::BASE64URL_NOPAD.encode(text.as_ref())
    }

    #[test]
    fn long_header_of_proof_is_accepted_and_not_kept_with_token() {
        let (issuer, key) = (TestIssuer::new(), SigningKey::from_seed(&[7; 32]).unwrap());
        let proofs = ProofVerifier::builder().external_url("https://api.example.com").unwrap();
        let proofs = proofs.clock(issuer.clock().clone()).build();
        issuer.clock().advance(Duration::from_secs(60));
        for (padding, is_kept) in [("", true), ("a".repeat(500).as_str(), false)] {
            let token = issuer.bound_token(&["a:b:c"], key.public_key().thumbprint());
            let verifier = issuer.verifier();
            for number in 0..3 {
                let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_bytes())});
                let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk, "padding": padding}).to_string();
                let claims = json!({
                    "jti": format!("{number}{is_kept}"), "htm": "GET", "htu": "https://api.example.com/x",
                    "iat": issuer.clock().now().seconds(), "ath": std::str::from_utf8(&hash(&token)).unwrap(),
                });
                let signed = format!("{}.{}", encode(header), encode(claims.to_string()));
                let proof = format!("{signed}.{}", encode(key.sign(signed.as_bytes())));
                let presented = PresentedToken::new(Scheme::Dpop, &token, "GET", "/x").proof(&proof);
                assert!(verifier.verify_presented(&presented, &proofs).is_ok(), "{number}");
            }
            let cached = verifier.rules.cache.get(&token).unwrap();
            assert_eq!(cached.sender.get().is_some(), is_kept);
        }
    }
}
