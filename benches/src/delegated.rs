//! Tokens at the end of a chain of delegations, and every signature that a verifier of them has to check.

use std::error::Error;

use agentwrit_verify::{
    ClaimSet, UnixTime,
    delegation::{Delegation, MAX_DEPTH, chain_hash},
    issue::SigningKey,
};

use crate::corpus::{self, Corpus, ISSUER};

/// Token with as many delegations as are allowed.
#[derive(Debug)]
pub struct DelegatedToken {
    /// The compact JWS.
    pub text: String,
    /// Signed bytes and signature of each delegation, and of the token.
    pub signatures: Vec<(Vec<u8>, [u8; 64])>,
}

impl Corpus {
    /// Signs `count` tokens of [`MAX_DEPTH`] delegations each, all of them with this corpus's key.
    ///
    /// # Errors
    ///
    /// As [`Corpus::new`].
    pub fn delegated(count: u64) -> Result<Vec<DelegatedToken>, Box<dyn Error>> {
        let key = corpus::signing_key()?;
        (0..count).map(|number| DelegatedToken::signed(&key, number * (MAX_DEPTH as u64 + 1))).collect()
    }
}

impl DelegatedToken {
    /// Delegates from the agent with this number to the next ones.
    fn signed(key: &SigningKey, number: u64) -> Result<Self, Box<dyn Error>> {
        let agents = (0..=MAX_DEPTH as u64).map(|hop| corpus::claims(number + hop));
        let agents: Vec<ClaimSet> = agents.collect::<Result<_, _>>()?;
        let (mut chain, mut signatures) = (Vec::new(), Vec::new());
        for (delegator, delegate) in agents.iter().zip(agents.iter().skip(1)) {
            let agent = |claims: &ClaimSet| claims.sub.as_agent().cloned().ok_or("not an agent");
            let hop = Delegation {
                agent: agent(delegator)?,
                scope: delegator.scope.clone(),
                delegated_at: UnixTime::from_seconds(delegator.iat),
                delegate: agent(delegate)?,
                sid: delegator.sid,
                expires_at: UnixTime::from_seconds(delegator.exp),
            };
            let record = key.sign_delegation(ISSUER, &chain, hop);
            let signature = data_encoding::HEXLOWER.decode(record.signature.as_bytes())?;
            let signature = signature.try_into().map_err(|_| "not an Ed25519 signature")?;
            signatures.push((record.signed_bytes(ISSUER, chain.len(), chain.last()), signature));
            chain.push(record);
        }
        let last = agents.last().ok_or("no agent")?;
        let claims = ClaimSet { chain_hash: Some(chain_hash(ISSUER, &chain)), delegation_chain: chain, ..last.clone() };
        let token = corpus::Token::signed(key, &claims)?;
        signatures.push((token.signed_part().to_vec(), token.signature));
        Ok(Self { text: token.text, signatures })
    }
}
