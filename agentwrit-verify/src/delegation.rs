//! Delegation chains, verifiable without the broker.
//!
//! 1. A chain has at most [`MAX_DEPTH`] records, root first. Each names the delegator (`agent`), its scopes (`scope`),
//!    the recipient (`delegate`), the delegator's session (`sid`) and the expiry of the delegator's token.
//! 2. The broker signs each record over [`DelegationRecord::signed_bytes`]; they include the signature of the preceding
//!    record, so that no record can be altered, dropped, reordered or moved into another chain.
//! 3. `chain_hash` is the hexadecimal SHA-256 over [`chain_hash`]'s bytes and is a claim beside the chain.
//! 4. A chain is valid when each `delegate` is the next record's `agent` and the last one the token's `sub`; each scope
//!    set covers the next and the last covers the token's; no expiry is later than the preceding one, and the token's
//!    not later than the last; delegation times never decrease, and each delegation precedes the expiry of its
//!    delegator's token.
//! 5. A record has one encoding: times in UTC and whole seconds, no duplicate scope, lower-case hexadecimal. A verifier
//!    that compares texts and one that parses them reach the same result.
//!
//! All encodings are length-prefixed: `text(x)` is the length of `x` in bytes as a 32-bit big-endian number, then `x`.
//! `docs/delegation-chain.md` in the repository specifies them for other languages, with a test vector.

#[cfg(feature = "issue")]
pub use crate::delegation_record::Delegation;
pub use crate::delegation_record::{DelegationRecord, RecordFormatError, chain_hash};
use crate::{
    claims::ClaimSet,
    delegation_record::SignedRecord,
    keys::{KeySet, PublicKey},
};

/// The largest number of hops.
pub const MAX_DEPTH: usize = 5;

/// Verifies the chain of a token whose own signature was verified, and returns the keys that signed it, each once: the
/// chain is no longer valid when one of them is removed. Accepts a token without chain and hash.
///
/// # Errors
///
/// [`DelegationChainError`] with the first rule that is broken.
pub fn verify_chain<'k>(claims: &ClaimSet, keys: &'k KeySet) -> Result<Vec<&'k PublicKey>, DelegationChainError> {
    verify_chain_of(claims, keys, None)
}

/// Verifies a chain as [`verify_chain`]. `token_key`, one of the keys, signed the token.
pub(crate) fn verify_chain_of<'k>(
    claims: &ClaimSet,
    keys: &'k KeySet,
    token_key: Option<&'k PublicKey>,
) -> Result<Vec<&'k PublicKey>, DelegationChainError> {
    let chain = &claims.delegation_chain;
    let Some(last) = chain.last() else {
        return if claims.chain_hash.is_none() { Ok(Vec::new()) } else { Err(DelegationChainError::Hash) };
    };
    if chain.len() > MAX_DEPTH {
        return Err(DelegationChainError::TooDeep { depth: chain.len() });
    }
    let (signed, hash) = SignedRecord::all_of(&claims.iss, chain);
    if claims.chain_hash.as_ref() != Some(&hash) {
        return Err(DelegationChainError::Hash);
    }
    // A chain may be older than the key that signed the token: any trusted key will do.
    let signers = SignedRecord::signers(&signed, keys, token_key);
    let mut signed_by: Vec<&PublicKey> = Vec::new();
    let mut previous: Option<&DelegationRecord> = None;
    for (index, (record, signer)) in chain.iter().zip(signers).enumerate() {
        let key = signer.ok_or(DelegationChainError::Signature { index })?;
        if !signed_by.contains(&key) {
            signed_by.push(key);
        }
        check_lifetime(index, record)?;
        if let Some(before) = previous {
            check_step(index, before, record)?;
        }
        previous = Some(record);
    }
    check_end(claims, last)?;
    Ok(signed_by)
}

/// Checks that the delegator's token had not expired at the delegation.
fn check_lifetime(index: usize, record: &DelegationRecord) -> Result<(), DelegationChainError> {
    if record.delegated_at < record.expires_at { Ok(()) } else { Err(DelegationChainError::Times { index }) }
}

fn check_step(index: usize, before: &DelegationRecord, record: &DelegationRecord) -> Result<(), DelegationChainError> {
    if before.delegate != record.agent {
        return Err(DelegationChainError::Broken { index });
    }
    if !before.scope.cover_all(&record.scope) {
        return Err(DelegationChainError::Widened { index });
    }
    if record.expires_at > before.expires_at || record.delegated_at < before.delegated_at {
        return Err(DelegationChainError::Times { index });
    }
    Ok(())
}

fn check_end(claims: &ClaimSet, last: &DelegationRecord) -> Result<(), DelegationChainError> {
    let index = claims.delegation_chain.len();
    if claims.sub.as_agent() != Some(&last.delegate) {
        return Err(DelegationChainError::Broken { index });
    }
    if !last.scope.cover_all(&claims.scope) {
        return Err(DelegationChainError::Widened { index });
    }
    if claims.exp > last.expires_at.seconds() || claims.iat < last.delegated_at.seconds() {
        return Err(DelegationChainError::Times { index });
    }
    Ok(())
}

/// Reason why a delegation chain is invalid. An `index` counts records from 0; the chain's length stands for the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DelegationChainError {
    /// More than [`MAX_DEPTH`] records.
    #[error("{depth} delegations, at most 5 are allowed")]
    TooDeep {
        /// Number of records.
        depth: usize,
    },
    /// `chain_hash` doesn't match the chain.
    #[error("the chain hash does not match")]
    Hash,
    /// A record that no trusted key signed.
    #[error("the signature of record {index} does not verify")]
    Signature {
        /// Index of the record.
        index: usize,
    },
    /// The delegator is not the previous delegate.
    #[error("record {index} does not continue the one before")]
    Broken {
        /// Index of the record.
        index: usize,
    },
    /// A scope that the delegator didn't hold.
    #[error("record {index} widens the scope")]
    Widened {
        /// Index of the record.
        index: usize,
    },
    /// A delegate that outlives its delegator, or a time that goes back.
    #[error("the times of record {index} are out of order")]
    Times {
        /// Index of the record.
        index: usize,
    },
}
