//! Records of a delegation chain, their canonical bytes and the chain's hash: rules 2, 3 and 5 of
//! [`delegation`](crate::delegation).

use agentwrit_json::Object;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    clock::UnixTime,
    identity::{AgentId, TokenId},
    keys::{KeySet, PublicKey},
    scope::{Scope, ScopeSet},
};

const RECORD_DOMAIN: &str = "agentwrit-delegation-record-v1";
const CHAIN_DOMAIN: &str = "agentwrit-delegation-chain-v1";

/// One hop of a delegation chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object<RawRecord>")]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract, and issuers must name each")]
pub struct DelegationRecord {
    /// The delegator.
    pub agent: AgentId,
    /// Scopes of the delegator.
    pub scope: ScopeSet,
    /// Time of the delegation.
    pub delegated_at: UnixTime,
    /// Recipient of the delegation.
    pub delegate: AgentId,
    /// The delegator's session.
    pub sid: TokenId,
    /// Expiry of the delegator's token.
    pub expires_at: UnixTime,
    /// The broker's Ed25519 signature over [`DelegationRecord::signed_bytes`], hexadecimal.
    pub signature: String,
}

impl DelegationRecord {
    /// Returns the bytes that the broker signs: `text("agentwrit-delegation-record-v1") text(issuer) u32(index)
    /// text(previous signature, 64 bytes, empty for the first) text(agent) u32(number of scopes) text(scope)…
    /// text(delegated_at) text(delegate) text(sid) text(expires_at)`.
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

/// A hop that a broker is about to sign: a [`DelegationRecord`] but for its signature.
#[cfg(feature = "issue")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "issuers must name each member")]
pub struct Delegation {
    /// The delegator.
    pub agent: AgentId,
    /// Scopes of the delegator.
    pub scope: ScopeSet,
    /// Time of the delegation; fractions of a second are dropped.
    pub delegated_at: UnixTime,
    /// Recipient of the delegation.
    pub delegate: AgentId,
    /// The delegator's session.
    pub sid: TokenId,
    /// Expiry of the delegator's token; fractions of a second are dropped.
    pub expires_at: UnixTime,
}

#[cfg(feature = "issue")]
impl Delegation {
    pub(crate) fn signed(
        self,
        issuer: &str,
        chain: &[DelegationRecord],
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> DelegationRecord {
        let whole_seconds = |time: UnixTime| UnixTime::from_seconds(time.seconds());
        let mut record = DelegationRecord {
            agent: self.agent,
            scope: self.scope,
            delegated_at: whole_seconds(self.delegated_at),
            delegate: self.delegate,
            sid: self.sid,
            expires_at: whole_seconds(self.expires_at),
            signature: String::new(),
        };
        record.signature = HEXLOWER.encode(&sign(&record.signed_bytes(issuer, chain.len(), chain.last())));
        record
    }
}

/// A record as encoded in a token, its encoding not yet checked.
#[derive(Deserialize)]
struct RawRecord {
    agent: AgentId,
    scope: Vec<Scope>,
    delegated_at: String,
    delegate: AgentId,
    sid: TokenId,
    expires_at: String,
    signature: String,
}

impl TryFrom<Object<RawRecord>> for DelegationRecord {
    type Error = RecordFormatError;

    fn try_from(Object(written): Object<RawRecord>) -> Result<Self, RecordFormatError> {
        Ok(Self {
            agent: written.agent,
            scope: distinct(written.scope)?,
            delegated_at: canonical_time(&written.delegated_at)?,
            delegate: written.delegate,
            sid: written.sid,
            expires_at: canonical_time(&written.expires_at)?,
            signature: written.signature,
        })
    }
}

pub(crate) fn distinct(scopes: Vec<Scope>) -> Result<ScopeSet, RecordFormatError> {
    let written = scopes.len();
    ScopeSet::new(scopes).ok().filter(|set| set.len() == written).ok_or(RecordFormatError::Scopes)
}

pub(crate) fn canonical_time(text: &str) -> Result<UnixTime, RecordFormatError> {
    UnixTime::parse_canonical(text).ok_or(RecordFormatError::Time)
}

/// Error of a record that is not encoded as a broker encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFormatError {
    /// Scopes that are not 1 to 64 different ones.
    #[error("a delegation record holds 1 to 64 different scopes")]
    Scopes,
    /// A time in another spelling.
    #[error("the times of a delegation record are written like `2026-11-21T08:00:00Z`")]
    Time,
}

/// The `chain_hash` of a chain: hexadecimal SHA-256 over `text("agentwrit-delegation-chain-v1") u32(number of records)`
/// and, for each record, `text(signed bytes) text(signature, 64 bytes)`.
#[must_use]
pub fn chain_hash(issuer: &str, chain: &[DelegationRecord]) -> String {
    SignedRecord::all_of(issuer, chain).1
}

/// Bytes of a record that are signed, and their signature.
pub(crate) struct SignedRecord {
    bytes: Vec<u8>,
    /// `None` unless the record has 64 bytes in hexadecimal.
    signature: Option<[u8; 64]>,
}

impl SignedRecord {
    /// Returns the records of a chain, and its hash.
    pub(crate) fn all_of(issuer: &str, chain: &[DelegationRecord]) -> (Vec<Self>, String) {
        let mut bytes = Vec::with_capacity(4096);
        put_text(&mut bytes, CHAIN_DOMAIN.as_bytes());
        put_number(&mut bytes, chain.len());
        let mut previous = None;
        let signed = chain.iter().enumerate().map(|(index, record)| {
            let signed =
                Self { bytes: record.signed_bytes(issuer, index, previous), signature: record.signature_bytes() };
            put_text(&mut bytes, &signed.bytes);
            put_text(&mut bytes, signed.signature.as_ref().map_or(&[], |signature| signature.as_slice()));
            previous = Some(record);
            signed
        });
        let signed = signed.collect();
        (signed, HEXLOWER.encode(&Sha256::digest(&bytes)))
    }

    /// Returns the key that signed each record. `likely` is tried first: one key signs most chains, and a set has other keys
    /// around a rotation.
    pub(crate) fn signers<'k>(
        records: &[Self],
        keys: &'k KeySet,
        likely: Option<&'k PublicKey>,
    ) -> Vec<Option<&'k PublicKey>> {
        let mut signers: Vec<Option<&PublicKey>> = vec![None; records.len()];
        let others = keys.iter().filter(|key| likely != Some(*key));
        for key in likely.into_iter().chain(others) {
            let unknown = records.iter().zip(&mut signers).filter(|(_, signer)| signer.is_none());
            let (signed, unknown): (Vec<_>, Vec<_>) = unknown
                .filter_map(|(record, signer)| Some(((record.bytes.as_slice(), record.signature?), signer)))
                .unzip();
            for (signer, is_valid) in unknown.into_iter().zip(key.verifies_each(&signed)) {
                *signer = is_valid.then_some(key);
            }
        }
        signers
    }
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    // Every length here is bounded by the token's 8 KiB.
    bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_number(bytes, text.len());
    bytes.extend_from_slice(text);
}
