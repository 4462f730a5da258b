//! Claims in the form in which issuers encode them, parsed in one pass over borrowed text.
//!
//! The form is a subset of what the [strict parser](agentwrit_json) accepts: one object without white space, escapes, `null`
//! and unknown members. [`parse`] returns `None` for every other text, which the strict parser then accepts or rejects. So
//! a defect here could read other claims or accept what is not JSON, never reject a token; tests compare both parsers.

use crate::{
    claims::ClaimSet,
    delegation_record::{DelegationRecord, canonical_time, distinct},
    identity::{AgentId, PathSegment, Subject, TokenId},
    scope::{Scope, ScopeSet},
    thumbprint::SenderConstraint,
};

/// Parses claims of this form; `None` for every other text.
pub(crate) fn parse(text: &[u8]) -> Option<ClaimSet> {
    let mut parser = Parser { rest: std::str::from_utf8(text).ok()? };
    let claims = parser.claims()?;
    parser.rest.is_empty().then_some(claims)
}

struct Parser<'a> {
    rest: &'a str,
}

/// Members of a claim set that were found.
#[derive(Default)]
struct FoundClaims {
    iss: Option<String>,
    sub: Option<Subject>,
    aud: Option<Vec<String>>,
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
    jti: Option<TokenId>,
    scope: Option<ScopeSet>,
    task_id: Option<PathSegment>,
    orch_id: Option<PathSegment>,
    sid: Option<TokenId>,
    delegation_chain: Option<Vec<DelegationRecord>>,
    chain_hash: Option<String>,
    cnf: Option<SenderConstraint>,
}

/// Members of a delegation record that were found.
#[derive(Default)]
struct FoundRecord<'a> {
    agent: Option<AgentId>,
    scope: Option<Vec<Scope>>,
    delegated_at: Option<&'a str>,
    delegate: Option<AgentId>,
    sid: Option<TokenId>,
    expires_at: Option<&'a str>,
    signature: Option<String>,
}

impl<'a> Parser<'a> {
    fn claims(&mut self) -> Option<ClaimSet> {
        let mut found = FoundClaims::default();
        self.members(|parser, name| match name.as_bytes() {
            b"iss" => set(&mut found.iss, parser.string()?.to_owned()),
            b"sub" => set(&mut found.sub, Subject::parse(parser.string()?).ok()?),
            b"aud" => set(&mut found.aud, parser.list(|parser| parser.string().map(str::to_owned))?),
            b"exp" => set(&mut found.exp, parser.number()?),
            b"nbf" => set(&mut found.nbf, parser.number()?),
            b"iat" => set(&mut found.iat, parser.number()?),
            b"jti" => set(&mut found.jti, parser.token_id()?),
            b"scope" => set(&mut found.scope, ScopeSet::new(parser.list(Self::scope)?).ok()?),
            b"task_id" => set(&mut found.task_id, PathSegment::parse(parser.string()?).ok()?),
            b"orch_id" => set(&mut found.orch_id, PathSegment::parse(parser.string()?).ok()?),
            b"sid" => set(&mut found.sid, parser.token_id()?),
            b"delegation_chain" => set(&mut found.delegation_chain, parser.list(Self::record)?),
            b"chain_hash" => set(&mut found.chain_hash, parser.string()?.to_owned()),
            b"cnf" => set(&mut found.cnf, parser.sender_constraint()?),
            _ => None,
        })?;
        Some(ClaimSet {
            iss: found.iss?,
            sub: found.sub?,
            aud: found.aud.unwrap_or_default(),
            exp: found.exp?,
            nbf: found.nbf?,
            iat: found.iat?,
            jti: found.jti?,
            scope: found.scope?,
            task_id: found.task_id,
            orch_id: found.orch_id,
            sid: found.sid?,
            delegation_chain: found.delegation_chain.unwrap_or_default(),
            chain_hash: found.chain_hash,
            cnf: found.cnf,
        })
    }

    fn record(&mut self) -> Option<DelegationRecord> {
        let mut found = FoundRecord::default();
        self.members(|parser, name| match name.as_bytes() {
            b"agent" => set(&mut found.agent, parser.agent_id()?),
            b"scope" => set(&mut found.scope, parser.list(Self::scope)?),
            b"delegated_at" => set(&mut found.delegated_at, parser.string()?),
            b"delegate" => set(&mut found.delegate, parser.agent_id()?),
            b"sid" => set(&mut found.sid, parser.token_id()?),
            b"expires_at" => set(&mut found.expires_at, parser.string()?),
            b"signature" => set(&mut found.signature, parser.string()?.to_owned()),
            _ => None,
        })?;
        Some(DelegationRecord {
            agent: found.agent?,
            scope: distinct(found.scope?).ok()?,
            delegated_at: canonical_time(found.delegated_at?).ok()?,
            delegate: found.delegate?,
            sid: found.sid?,
            expires_at: canonical_time(found.expires_at?).ok()?,
            signature: found.signature?,
        })
    }

    fn sender_constraint(&mut self) -> Option<SenderConstraint> {
        let mut jkt = None;
        self.members(|parser, name| match name.as_bytes() {
            b"jkt" => set(&mut jkt, parser.string()?.parse().ok()?),
            _ => None,
        })?;
        Some(SenderConstraint { jkt: jkt? })
    }

    /// Parses an object of at least one member: calls `value` after the colon of each.
    fn members(&mut self, mut value: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            value(self, name)?;
            if self.expect(b',').is_none() {
                return self.expect(b'}');
            }
        }
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        if self.expect(b']').is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.expect(b',').is_none() {
                self.expect(b']')?;
                return Some(items);
            }
        }
    }

    /// Parses a string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let (text, rest) = self.rest.split_at_checked(plain_length(self.rest.as_bytes()))?;
        self.rest = rest;
        self.expect(b'"')?;
        Some(text)
    }

    fn token_id(&mut self) -> Option<TokenId> {
        TokenId::parse(self.string()?).ok()
    }

    fn agent_id(&mut self) -> Option<AgentId> {
        AgentId::parse(self.string()?).ok()
    }

    fn scope(&mut self) -> Option<Scope> {
        Scope::parse(self.string()?).ok()
    }

    /// Parses a whole number as JSON writes it: no sign, no leading zero; a fraction or an exponent fails what follows.
    fn number(&mut self) -> Option<u64> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at_checked(digits)?;
        self.rest = rest;
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        digits.parse().ok()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(char::from(byte))?;
        Some(())
    }
}

/// Returns the number of bytes before the first quotation mark, `\` or control character (RFC 8259 §7).
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    // Eight bytes at once: the high bit of a byte is set where the byte is less than the limit. Borrows make that wrong only
    // after the first such byte.
    let less = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH_BITS;
    let equal = |word: u64, byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    let (words, rest) = text.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let special = less(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if special != 0 {
            return length + usize::try_from(special.trailing_zeros() / 8).unwrap_or_default();
        }
        length += 8;
    }
    length + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// Sets a member that may occur once.
fn set<T>(member: &mut Option<T>, value: T) -> Option<()> {
    match member.replace(value) {
        None => Some(()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
