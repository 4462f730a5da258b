//! Apps: `/v1/admin/apps` and what lies below it.

use agentwrit_verify::{AppId, ScopeSet, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{
    JsonRequest, RequestError, Secret,
    lenient::{is_false, lenient, lenient_flag},
    limits::{MAX_SECRET_OVERLAP, MAX_TOKEN_TTL, MIN_APP_TOKEN_TTL},
    members::{Member, Scopes, Seconds, Text},
    request::read,
    secret::exposed,
};

/// Body of `POST /v1/admin/apps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AppCreationRequest {
    /// Name of the app, of which the broker checks the form.
    pub name: String,
    /// Ceiling: scopes that its agents may hold at most.
    pub scopes: ScopeSet,
    /// Lifetime of the app's own tokens, in seconds; the broker's default where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ttl: Option<u64>,
    /// True when the tokens of the app's agents must be bound to the agent's key (RFC 9449); its own stay bearer tokens.
    #[serde(skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
}

impl JsonRequest for AppCreationRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            name: Member<Text<64>>,
            scopes: Member<Scopes>,
            token_ttl: Member<Seconds>,
            sender_constrained: Member<bool>,
        }
        let members: Members = read(body)?;
        Ok(Self {
            name: members.name.text("name")?.to_owned(),
            scopes: members.scopes.scopes("scopes")?,
            token_ttl: members.token_ttl.lifetime("token_ttl", MIN_APP_TOKEN_TTL, MAX_TOKEN_TTL)?,
            sender_constrained: members.sender_constrained.flag("sender_constrained")?.unwrap_or_default(),
        })
    }
}

/// Body of `PUT /v1/admin/apps/{id}`. Members that are left out change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AppUpdateRequest {
    /// New ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<ScopeSet>,
    /// New lifetime of the app's own tokens, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ttl: Option<u64>,
    /// True when the tokens of the app's agents must be bound to the agent's key from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_constrained: Option<bool>,
}

impl JsonRequest for AppUpdateRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            scopes: Member<Scopes>,
            token_ttl: Member<Seconds>,
            sender_constrained: Member<bool>,
        }
        let members: Members = read(body)?;
        let scopes = members.scopes.optional_scopes("scopes")?;
        let token_ttl = members.token_ttl.lifetime("token_ttl", MIN_APP_TOKEN_TTL, MAX_TOKEN_TTL)?;
        let sender_constrained = members.sender_constrained.flag("sender_constrained")?;
        if scopes.is_none() && token_ttl.is_none() && sender_constrained.is_none() {
            return Err(RequestError::invalid("scopes, token_ttl or sender_constrained", "one of them is required"));
        }
        Ok(Self { scopes, token_ttl, sender_constrained })
    }
}

/// An app as the broker describes it: no secret, not even its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AppRecord {
    /// Id by which the operator names the app.
    pub app_id: AppId,
    /// Public name of the app's credentials.
    pub client_id: String,
    /// Name that the operator chose.
    pub name: String,
    /// Ceiling: scopes that its agents may hold at most.
    pub scopes: ScopeSet,
    /// Lifetime of the app's own tokens, in seconds.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub token_ttl: Option<u64>,
    /// True when the tokens of the app's agents are bound to the agent's key (RFC 9449).
    #[serde(default, deserialize_with = "lenient_flag", skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
    /// State of the app; absent when it is not a known one.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub status: Option<AppStatus>,
    /// Time of its registration. AgentWrit v2 sends none.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<UnixTime>,
    /// Time of its latest change. AgentWrit v2 sends none.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<UnixTime>,
    /// Time of its deregistration.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<UnixTime>,
    /// Time until which the secret before the latest rotation is accepted, while it is.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub former_secret_expires_at: Option<UnixTime>,
}

/// State of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "code that judges an app must judge each state")]
pub enum AppStatus {
    /// Registered.
    Active,
    /// Stopped by the operator, until it is resumed.
    Suspended,
    /// Deregistered, for good.
    Inactive,
}

impl AppStatus {
    /// Returns `active`, `suspended` or `inactive`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Inactive => "inactive",
        }
    }
}

/// Response of `POST /v1/admin/apps`: the app and its secret. AgentWrit v2 sends the first three members only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AppCreationResponse {
    /// Id by which the operator names the app.
    pub app_id: AppId,
    /// Public name of the app's credentials.
    pub client_id: String,
    /// Secret of the app's credentials, shown this once.
    #[serde(serialize_with = "exposed")]
    pub client_secret: Secret,
    /// Name that the operator chose.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Ceiling: scopes that its agents may hold at most.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub scopes: Option<ScopeSet>,
    /// Lifetime of the app's own tokens, in seconds.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub token_ttl: Option<u64>,
    /// True when the tokens of the app's agents are bound to the agent's key (RFC 9449).
    #[serde(default, deserialize_with = "lenient_flag", skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
    /// State of the app.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub status: Option<AppStatus>,
    /// Time of its registration.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<UnixTime>,
    /// Time of its latest change.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<UnixTime>,
}

impl AppCreationResponse {
    /// Adds its secret to a new app.
    #[must_use]
    pub fn new(app: AppRecord, client_secret: Secret) -> Self {
        Self {
            app_id: app.app_id,
            client_id: app.client_id,
            client_secret,
            name: Some(app.name),
            scopes: Some(app.scopes),
            token_ttl: app.token_ttl,
            sender_constrained: app.sender_constrained,
            status: app.status,
            created_at: app.created_at,
            updated_at: app.updated_at,
        }
    }
}

/// Response of `GET /v1/admin/apps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AppListResponse {
    /// Apps in the order of their registration, deregistered ones too.
    pub apps: Vec<AppRecord>,
    /// Number of all apps.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Body of `POST /v1/admin/apps/{id}/rotate-secret`. Every member is optional, and so is the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct SecretRotationRequest {
    /// Seconds for which the former secret is accepted beside the new one; 0 ends it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<u64>,
}

impl JsonRequest for SecretRotationRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            overlap: Member<Seconds>,
        }
        if body.is_empty() {
            return Ok(Self::default());
        }
        let members: Members = read(body)?;
        Ok(Self { overlap: members.overlap.whole("overlap", 0, MAX_SECRET_OVERLAP)? })
    }
}

/// Response of `POST /v1/admin/apps/{id}/rotate-secret`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct SecretRotationResponse {
    /// Id of the app.
    pub app_id: AppId,
    /// Public name of the app's credentials, which stays.
    pub client_id: String,
    /// New secret of the app's credentials, shown this once.
    #[serde(serialize_with = "exposed")]
    pub client_secret: Secret,
    /// Time until which the former secret is accepted; absent when it is not accepted any more.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub former_secret_expires_at: Option<UnixTime>,
}

/// Response of `DELETE /v1/admin/apps/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AppDeregistrationResponse {
    /// Id of the app.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub app_id: Option<AppId>,
    /// [`AppStatus::Inactive`].
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub status: Option<AppStatus>,
    /// Time of its deregistration.
    pub deregistered_at: UnixTime,
}
