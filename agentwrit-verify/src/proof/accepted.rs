//! Proofs that were accepted for one request, so that its inner layers don't take them for replays.

use std::{fmt, sync::Arc};

use super::ReplayTable;

/// A proof that was accepted for a request, and those that were accepted for the request before, each in the table of
/// the verifier that accepted it.
#[derive(Clone)]
pub(crate) struct AcceptedProof(Arc<Accepted>);

struct Accepted {
    recorded_in: Arc<ReplayTable>,
    proof: Box<str>,
    before: Option<AcceptedProof>,
}

impl AcceptedProof {
    pub(super) fn new(recorded_in: &Arc<ReplayTable>, proof: &str, before: Option<&Self>) -> Self {
        Self(Arc::new(Accepted { recorded_in: Arc::clone(recorded_in), proof: proof.into(), before: before.cloned() }))
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
        f.write_str("AcceptedProof(…)")
    }
}
