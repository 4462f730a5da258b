//! Delegation chains: who handed what to whom, provable without the broker.
//!
//! 1. A chain has at most [`MAX_DEPTH`] records, root first. Each names the delegator (`agent`), what it held
//!    (`scope`), who received (`delegate`), the delegator's session (`sid`) and when the delegator's token expires.
//! 2. The broker signs each record over [`DelegationRecord::signed_bytes`]; they include the signature of the record
//!    before, so that no record can be altered, dropped, reordered or moved into another chain.
//! 3. `chain_hash` is the hexadecimal SHA-256 over [`chain_hash`]'s bytes and stands in the token beside the chain.
//! 4. A chain holds together when each `delegate` is the next record's `agent` and the last one the token's `sub`;
//!    each scope covers the next and the last covers the token's; no expiry is later than the one before, and the
//!    token's not later than the last; delegation times never go back.
//!
//! All encodings are length-prefixed: `text(x)` is the length of `x` in bytes as a 32-bit big-endian number, then `x`.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    claims::ClaimSet,
    clock::UnixTime,
    identity::{AgentId, TokenId},
    keys::KeySet,
    scope::ScopeSet,
};

/// The largest number of hops.
pub const MAX_DEPTH: usize = 5;

const RECORD_DOMAIN: &str = "agentwrit-delegation-record-v1";
const CHAIN_DOMAIN: &str = "agentwrit-delegation-chain-v1";

/// One hop of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract, and issuers must name each")]
pub struct DelegationRecord {
    /// The delegator.
    pub agent: AgentId,
    /// What the delegator held.
    pub scope: ScopeSet,
    /// When it delegated.
    pub delegated_at: UnixTime,
    /// Who received.
    pub delegate: AgentId,
    /// The delegator's session.
    pub sid: TokenId,
    /// When the delegator's token expires.
    pub expires_at: UnixTime,
    /// The broker's Ed25519 signature over [`DelegationRecord::signed_bytes`], hexadecimal.
    pub signature: String,
}

impl DelegationRecord {
    /// What the broker signs: `text("agentwrit-delegation-record-v1") text(issuer) u32(index) text(previous signature,
    /// 64 bytes, empty for the first) text(agent) u32(number of scopes) text(scope)… text(delegated_at)
    /// text(delegate) text(sid) text(expires_at)`.
    #[must_use]
    pub fn signed_bytes(&self, issuer: &str, index: usize, previous: Option<&DelegationRecord>) -> Vec<u8> {
        let previous = previous.and_then(DelegationRecord::signature_bytes);
        let mut bytes = Vec::with_capacity(512);
        put_text(&mut bytes, RECORD_DOMAIN.as_bytes());
        put_text(&mut bytes, issuer.as_bytes());
        put_number(&mut bytes, index);
        put_text(&mut bytes, previous.as_ref().map_or(&[], |signature| signature.as_slice()));
        put_text(&mut bytes, self.agent.as_str().as_bytes());
        put_number(&mut bytes, self.scope.len());
        for scope in &self.scope {
            put_text(&mut bytes, scope.as_str().as_bytes());
        }
        put_text(&mut bytes, self.delegated_at.to_rfc3339().as_bytes());
        put_text(&mut bytes, self.delegate.as_str().as_bytes());
        put_text(&mut bytes, self.sid.to_string().as_bytes());
        put_text(&mut bytes, self.expires_at.to_rfc3339().as_bytes());
        bytes
    }

    fn signature_bytes(&self) -> Option<[u8; 64]> {
        let mut bytes = [0; 64];
        (self.signature.len() == 128 && HEXLOWER.decode_mut(self.signature.as_bytes(), &mut bytes).is_ok())
            .then_some(bytes)
    }
}

/// The `chain_hash` of a chain: hexadecimal SHA-256 over `text("agentwrit-delegation-chain-v1") u32(number of records)`
/// and, for each record, `text(signed bytes) text(signature, 64 bytes)`.
#[must_use]
pub fn chain_hash(issuer: &str, chain: &[DelegationRecord]) -> String {
    let mut bytes = Vec::with_capacity(1024);
    put_text(&mut bytes, CHAIN_DOMAIN.as_bytes());
    put_number(&mut bytes, chain.len());
    let mut previous = None;
    for (index, record) in chain.iter().enumerate() {
        put_text(&mut bytes, &record.signed_bytes(issuer, index, previous));
        put_text(&mut bytes, record.signature_bytes().as_ref().map_or(&[], |signature| signature.as_slice()));
        previous = Some(record);
    }
    HEXLOWER.encode(&Sha256::digest(&bytes))
}

/// Checks the chain of a token whose own signature was checked. A token without a chain passes, unless it has a hash.
///
/// # Errors
///
/// [`ChainError`] names the first rule that is broken.
pub fn verify_chain(claims: &ClaimSet, keys: &KeySet) -> Result<(), ChainError> {
    let chain = &claims.delegation_chain;
    let Some(last) = chain.last() else {
        return if claims.chain_hash.is_none() { Ok(()) } else { Err(ChainError::Hash) };
    };
    if chain.len() > MAX_DEPTH {
        return Err(ChainError::TooDeep { depth: chain.len() });
    }
    if claims.chain_hash.as_deref() != Some(chain_hash(&claims.iss, chain).as_str()) {
        return Err(ChainError::Hash);
    }
    let mut previous: Option<&DelegationRecord> = None;
    for (index, record) in chain.iter().enumerate() {
        check_signature(claims, keys, index, record, previous)?;
        if let Some(before) = previous {
            check_step(index, before, record)?;
        }
        previous = Some(record);
    }
    check_end(claims, last)
}

fn check_signature(
    claims: &ClaimSet,
    keys: &KeySet,
    index: usize,
    record: &DelegationRecord,
    previous: Option<&DelegationRecord>,
) -> Result<(), ChainError> {
    let signature = record.signature_bytes().ok_or(ChainError::Signature { index })?;
    let signed = record.signed_bytes(&claims.iss, index, previous);
    // A chain may be older than the key that signed the token: any trusted key will do.
    if keys.iter().any(|key| key.verifies(&signed, &signature)) { Ok(()) } else { Err(ChainError::Signature { index }) }
}

fn check_step(index: usize, before: &DelegationRecord, record: &DelegationRecord) -> Result<(), ChainError> {
    if before.delegate != record.agent {
        return Err(ChainError::Broken { index });
    }
    if !before.scope.cover_all(&record.scope) {
        return Err(ChainError::Widened { index });
    }
    if record.expires_at > before.expires_at || record.delegated_at < before.delegated_at {
        return Err(ChainError::Times { index });
    }
    Ok(())
}

fn check_end(claims: &ClaimSet, last: &DelegationRecord) -> Result<(), ChainError> {
    let index = claims.delegation_chain.len();
    if claims.sub.as_agent() != Some(&last.delegate) {
        return Err(ChainError::Broken { index });
    }
    if !last.scope.cover_all(&claims.scope) {
        return Err(ChainError::Widened { index });
    }
    if claims.exp > last.expires_at.seconds() || claims.iat < last.delegated_at.seconds() {
        return Err(ChainError::Times { index });
    }
    Ok(())
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    // Every length here is bounded by the token's 8 KiB.
    bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_number(bytes, text.len());
    bytes.extend_from_slice(text);
}

/// Why a delegation chain doesn't hold. An `index` counts records from 0; the chain's length stands for the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// More than [`MAX_DEPTH`] records.
    #[error("{depth} delegations, at most 5 are allowed")]
    TooDeep {
        /// How many records there are.
        depth: usize,
    },
    /// `chain_hash` doesn't match the chain.
    #[error("the chain hash does not match")]
    Hash,
    /// A record that no trusted key signed.
    #[error("the signature of record {index} does not verify")]
    Signature {
        /// Which record.
        index: usize,
    },
    /// Whoever acts isn't the one that received.
    #[error("record {index} does not continue the one before")]
    Broken {
        /// Which record.
        index: usize,
    },
    /// A scope that the delegator didn't hold.
    #[error("record {index} widens the scope")]
    Widened {
        /// Which record.
        index: usize,
    },
    /// A delegate that outlives its delegator, or a time that goes back.
    #[error("the times of record {index} are out of order")]
    Times {
        /// Which record.
        index: usize,
    },
}
