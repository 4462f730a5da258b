//! Proofs that were accepted for one request, so that its inner layers don't take them for replays.

use std::{fmt, sync::Arc};

use super::ReplayTable;
use crate::{clock::UnixTime, identity::TokenId};

/// A proof that was accepted for a request, and those that were accepted for the request before, each in the table of
/// the verifier that accepted it. Its `Debug` doesn't show the proof.
///
/// For services that record used proofs elsewhere too, such as in a database that several instances share.
#[derive(Clone)]
pub struct AcceptedProof(Arc<Accepted>);

struct Accepted {
    recorded_in: Arc<ReplayTable>,
    proof: Box<str>,
    token_id: TokenId,
    issued_at: UnixTime,
    before: Option<AcceptedProof>,
}

impl AcceptedProof {
    pub(super) fn new(
        recorded_in: &Arc<ReplayTable>,
        (proof, issued_at): (&str, UnixTime),
        token_id: TokenId,
        before: Option<&Self>,
    ) -> Self {
        let (recorded_in, before) = (Arc::clone(recorded_in), before.cloned());
        Self(Arc::new(Accepted { recorded_in, proof: proof.into(), token_id, issued_at, before }))
    }

    /// Returns the part of the proof that is signed. It names the key, the token (`ath`) and the `jti`; the same proof has
    /// one such text, and may have several signatures.
    #[must_use]
    pub fn signing_input(&self) -> &str {
        let proof: &str = &self.0.proof;
        proof.rsplit_once('.').map_or(proof, |(signed, _)| signed)
    }

    /// Returns the time of the proof (`iat`), rounded down.
    #[must_use]
    pub fn issued_at(&self) -> UnixTime {
        self.0.issued_at
    }

    /// Returns true when the proof was accepted with this token, not with one that an outer layer verified.
    pub(crate) fn is_of(&self, token_id: TokenId) -> bool {
        self.0.token_id == token_id
    }

    /// Returns true when this proof was recorded in this table for the request. The proof names the token (`ath`).
    pub(super) fn is_recorded_in(&self, table: &Arc<ReplayTable>, proof: &str) -> bool {
        let mut accepted = Some(self);
        while let Some(Self(this)) = accepted {
            if Arc::ptr_eq(&this.recorded_in, table) && *this.proof == *proof {
                return true;
            }
            accepted = this.before.as_ref();
        }
        false
    }
}

impl fmt::Debug for AcceptedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptedProof").field("issued_at", &self.issued_at()).finish_non_exhaustive()
    }
}
