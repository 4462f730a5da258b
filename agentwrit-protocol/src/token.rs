//! Tokens in hand: `POST /v1/token/validate`, `POST /v1/token/renew` and `POST /v1/delegate`.

use agentwrit_verify::{AgentId, ClaimSet, DelegationRecord, MAX_TOKEN_LENGTH, ScopeSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::{
    JsonRequest, Presented, RequestError, Secret, TokenType,
    lenient::{SmallValue, lenient},
    members::{Member, Scopes, Seconds, Text},
    request::read,
    secret::exposed,
};

/// Body of `POST /v1/token/validate`.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct ValidationRequest {
    /// Token to judge.
    #[serde(serialize_with = "presented")]
    pub token: Presented<Secret>,
}

fn presented<S: Serializer>(token: &Presented<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match token {
        Presented::WellFormed(token) => exposed(token, serializer),
        Presented::Malformed => serializer.serialize_str(""),
    }
}

impl JsonRequest for ValidationRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            token: Member<Text<MAX_TOKEN_LENGTH>>,
        }
        let members: Members = read(body)?;
        let token = members.token.presented("token")?.well_formed();
        Ok(Self { token: token.map(Secret::from).into() })
    }
}

/// Response of `POST /v1/token/validate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct ValidationResponse {
    /// True when the token is valid now.
    pub valid: bool,
    /// How a valid token is presented; absent means [`TokenType::Bearer`]. A bound token without its proof is worth nothing
    /// (RFC 9449 §6.2, §7.2).
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub token_type: Option<TokenType>,
    /// Claims of a valid token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<ReportedClaims>,
    /// Reason that a caller may know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ValidationResponse {
    /// Reports a valid token.
    #[must_use]
    pub fn valid(claims: ClaimSet) -> Self {
        let token_type = claims.cnf.as_ref().map(|_| TokenType::Dpop);
        Self { valid: true, token_type, claims: Some(ReportedClaims::Known(Box::new(claims))), error: None }
    }

    /// Reports an invalid token; nothing tells why it is.
    #[must_use]
    pub fn invalid() -> Self {
        Self { valid: false, token_type: None, claims: None, error: Some(String::from("token is invalid or expired")) }
    }
}

/// Claims of this project's tokens, or of another form: an AgentWrit v2 broker's. Claims that take more than 256 KiB
/// once parsed are an error of deserialization: no token holds as many.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "claims have the known form or another")]
pub enum ReportedClaims {
    /// Claims of this project's form.
    Known(Box<ClaimSet>),
    /// Claims of another form.
    Other(Map<String, Value>),
}

impl<'de> Deserialize<'de> for ReportedClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let SmallValue(value) = SmallValue::deserialize(deserializer)?;
        match value {
            None => Err(de::Error::custom("claims are larger than those of any token")),
            Some(Value::Object(claims)) => {
                Ok(ClaimSet::deserialize(&claims)
                    .map_or_else(|_| Self::Other(claims), |known| Self::Known(known.into())))
            }
            Some(_) => Err(de::Error::custom("claims must be an object")),
        }
    }
}

/// Response of `POST /v1/token/renew`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct RenewalResponse {
    /// Token that takes the place of the old one.
    #[serde(serialize_with = "exposed")]
    pub access_token: Secret,
    /// Lifetime of the token, in seconds.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// How the token is presented; absent means [`TokenType::Bearer`].
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub token_type: Option<TokenType>,
}

/// Body of `POST /v1/delegate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct DelegationRequest {
    /// Agent that receives the token.
    pub delegate_to: AgentId,
    /// Scopes that the token permits.
    pub scope: ScopeSet,
    /// Longest lifetime of the token, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

impl JsonRequest for DelegationRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            delegate_to: Member<Text<{ AgentId::MAX_LENGTH }>>,
            scope: Member<Scopes>,
            ttl: Member<Seconds>,
        }
        let members: Members = read(body)?;
        let delegate_to = AgentId::parse(members.delegate_to.text("delegate_to")?);
        Ok(Self {
            delegate_to: delegate_to.map_err(|error| RequestError::invalid("delegate_to", error.to_string()))?,
            scope: members.scope.scopes("scope")?,
            ttl: members.ttl.clamped_lifetime("ttl")?,
        })
    }
}

/// Response of `POST /v1/delegate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct DelegationResponse {
    /// Token for the delegate.
    #[serde(serialize_with = "exposed")]
    pub access_token: Secret,
    /// Lifetime of the token, in seconds.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// How the token is presented; absent means [`TokenType::Bearer`].
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub token_type: Option<TokenType>,
    /// Chain of the token, root first. That of AgentWrit v2 has another form.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub delegation_chain: Option<Vec<DelegationRecord>>,
}
