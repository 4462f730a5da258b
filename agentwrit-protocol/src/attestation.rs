//! Attestation of an agent: a token of another issuer, in place of a launch token.

use agentwrit_json::CowStr;
use serde::{
    Deserialize, Serialize,
    de::{IgnoredAny, MapAccess},
};

use crate::{
    RequestError, Secret,
    limits::MAX_ASSERTION,
    members::{Member, MemberValue, Text},
    secret::exposed,
};

/// Kind of the identity that attests an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "code that verifies assertions must know each kind")]
pub enum AttestationKind {
    /// ID token of an `OpenID` provider: a CI job, a cloud's workload identity.
    Oidc,
    /// Projected token of a Kubernetes service account.
    Kubernetes,
    /// JWT-SVID of a SPIFFE workload.
    Spiffe,
}

impl AttestationKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Oidc, Self::Kubernetes, Self::Spiffe];

    /// Returns `oidc`, `kubernetes` or `spiffe`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::Kubernetes => "kubernetes",
            Self::Spiffe => "spiffe",
        }
    }

    /// Returns the kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Condition of the name of a kind.
pub(crate) const KIND_EXPECTED: &str = "must be `oidc`, `kubernetes` or `spiffe`";

/// Name of a kind.
pub(crate) type KindName = Text<16>;

impl Member<KindName> {
    pub(crate) fn kind(&self, name: &'static str) -> Result<AttestationKind, RequestError> {
        let kind = AttestationKind::parse(self.text(name)?);
        kind.ok_or_else(|| RequestError::invalid(name, KIND_EXPECTED))
    }
}

/// Assertion of another issuer about a workload. The broker accepts each assertion once.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct Attestation {
    /// Kind of the assertion.
    pub kind: AttestationKind,
    /// The assertion: a compact JWS of at most [`MAX_ASSERTION`] bytes.
    #[serde(serialize_with = "exposed")]
    pub token: Secret,
}

/// Members of an attestation.
#[derive(Debug, Default)]
pub(crate) struct AttestationMembers {
    kind: Member<KindName>,
    token: Member<Text<MAX_ASSERTION>>,
}

impl MemberValue for AttestationMembers {
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut members = Self::default();
        while let Some(CowStr(name)) = object.next_key()? {
            match &*name {
                "kind" => members.kind = object.next_value()?,
                "token" => members.token = object.next_value()?,
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(members))
    }
}

impl Member<AttestationMembers> {
    /// An attestation, if it is there.
    pub(crate) fn attestation(&self, name: &'static str) -> Result<Option<Attestation>, RequestError> {
        let Some(AttestationMembers { kind, token }) = self.typed(name, "an object")? else { return Ok(None) };
        // The name of the outer member stays in front of every error.
        let within = |member: &str, error: RequestError| match error {
            RequestError::Invalid { problem, .. } => RequestError::invalid(name, format!("`{member}` {problem}")),
            other @ (RequestError::Json(_)
            | RequestError::OtherEndpoint { .. }
            | RequestError::TtlOutOfRange { .. }
            | RequestError::TtlNotPositive { .. }) => other,
        };
        let kind = kind.kind(name).map_err(|error| within("kind", error))?;
        let token = token.secret(name).map_err(|error| within("token", error))?;
        Ok(Some(Attestation { kind, token }))
    }
}
