//! Tokens that every contender verifies: 10,000 typical agents' tokens, all valid.

use std::error::Error;
use std::time::Duration;

use agentwrit_verify::issue::SigningKey;
use agentwrit_verify::{
    AgentId, ClaimSet, Clock as _, KeySet, PathSegment, ScopeSet, Subject, SystemClock, TokenId, TrustDomain,
    TrustedKeys,
};

/// Issuer of the tokens.
pub const ISSUER: &str = "https://agentwrit.local";
/// Audience of the tokens.
pub const AUDIENCE: &str = "https://records.clinic.example.com";
/// Leeway of the clocks.
pub const LEEWAY: Duration = Duration::from_secs(5);

const SEED: [u8; 32] = *b"agentwrit benches, not a secret.";
const NEXT_SEED: [u8; 32] = *b"agentwrit benches, the next key.";
const LIFETIME: u64 = 3600;

/// Tokens, and the key they are signed with.
#[derive(Debug)]
pub struct Corpus {
    key_set: KeySet,
    in_force: TrustedKeys,
    jwks: String,
    tokens: Vec<Token>,
}

/// Token with its decoded parts.
#[derive(Debug)]
pub struct Token {
    /// The compact JWS.
    pub text: String,
    /// Its `sub`.
    pub subject: String,
    /// Its signature, decoded.
    pub signature: [u8; 64],
    signed_length: usize,
}

impl Corpus {
    /// Signs `count` tokens that differ in agent, session and token id.
    ///
    /// # Errors
    ///
    /// If a name in this function is not valid under the contract.
    pub fn new(count: u64) -> Result<Self, Box<dyn Error>> {
        Self::signed_by(&signing_key()?, count)
    }

    /// Signs the tokens with the key of after a rotation.
    ///
    /// # Errors
    ///
    /// As [`Corpus::new`].
    pub fn after_rotation(count: u64) -> Result<Self, Box<dyn Error>> {
        Self::signed_by(&SigningKey::from_seed(&NEXT_SEED)?, count)
    }

    fn signed_by(key: &SigningKey, count: u64) -> Result<Self, Box<dyn Error>> {
        let key_set = KeySet::new([key.public_key().clone()])?;
        let tokens = (0..count).map(|number| Token::signed(key, &claims(number)?)).collect::<Result<_, _>>()?;
        Ok(Self { jwks: key_set.to_jwks(), in_force: TrustedKeys::fixed(key_set.clone()), key_set, tokens })
    }

    /// Returns all tokens.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Returns the token of this number.
    ///
    /// # Panics
    ///
    /// If there are fewer tokens.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a round that draws another number is a defect of the benchmark")]
    pub fn token(&self, number: usize) -> &Token {
        &self.tokens[number]
    }

    /// Returns the key set with the one key.
    #[must_use]
    pub fn key_set(&self) -> &KeySet {
        &self.key_set
    }

    /// Returns the key set as it is in force: the verifiers of a service share it, and with it the table of the key.
    #[must_use]
    pub fn trusted_keys(&self) -> &TrustedKeys {
        &self.in_force
    }

    /// Returns the key set in the broker's JSON form.
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }
}

impl Token {
    pub(crate) fn signed(key: &SigningKey, claims: &ClaimSet) -> Result<Self, Box<dyn Error>> {
        let text = key.sign_token(claims);
        let (signed, signature) = text.rsplit_once('.').ok_or("not a JWS")?;
        let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes())?;
        let signature = signature.try_into().map_err(|_| "not an Ed25519 signature")?;
        Ok(Self { signed_length: signed.len(), subject: claims.sub.to_string(), signature, text })
    }

    /// Returns the signed part of the token.
    #[must_use]
    pub fn signed_part(&self) -> &[u8] {
        self.text.as_bytes().get(..self.signed_length).unwrap_or_default()
    }

    /// Returns the length of the claims' JSON in bytes.
    #[must_use]
    pub fn claims_length(&self) -> usize {
        self.text.split('.').nth(1).map_or(0, |claims| claims.len() * 3 / 4)
    }
}

/// Returns the key that signs the tokens of [`Corpus::new`].
pub(crate) fn signing_key() -> Result<SigningKey, Box<dyn Error>> {
    Ok(SigningKey::from_seed(&SEED)?)
}

/// Returns the claims of an agent's token.
pub(crate) fn claims(number: u64) -> Result<ClaimSet, Box<dyn Error>> {
    let (orch_id, task_id) =
        (PathSegment::parse("claims-intake-europe-1")?, PathSegment::parse("review-2026-11-21-00004217")?);
    let agent = AgentId::new(&TrustDomain::parse("agentwrit.local")?, &orch_id, &task_id, mixed(number).to_be_bytes());
    let now = SystemClock.now().seconds();
    let token_id = token_id(number);
    Ok(ClaimSet {
        iss: ISSUER.to_owned(),
        sub: Subject::Agent(agent),
        aud: vec![AUDIENCE.to_owned()],
        exp: now + LIFETIME,
        nbf: now,
        iat: now,
        jti: token_id,
        scope: ScopeSet::parse(["read:records:patient-104277", "write:notes:patient-104277", "read:labresults:*"])?,
        task_id: Some(task_id),
        orch_id: Some(orch_id),
        sid: token_id,
        delegation_chain: Vec::new(),
        chain_hash: None,
        cnf: None,
    })
}

fn token_id(number: u64) -> TokenId {
    TokenId::from_bytes((u128::from(mixed(number)) << 64 | u128::from(mixed(!number))).to_be_bytes())
}

/// Spreads a number over all 64 bits (the finalizer of `splitmix64`), so that ids look as random as real ones.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Returns the numbers below `count` in an order without pattern, the same in every run, which defeats prefetching.
#[must_use]
pub fn shuffled(count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    numbers.sort_by_key(|number| mixed(*number as u64));
    numbers
}
