//! Logins: `POST /v1/admin/auth` and `POST /v1/app/auth`.

use agentwrit_verify::ScopeSet;
use serde::{Deserialize, Serialize};

use crate::{
    JsonRequest, RequestError, Secret, TokenType,
    lenient::lenient,
    members::{Member, Text},
    request::read,
    secret::exposed,
};

/// Body of `POST /v1/admin/auth`.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AdminAuthRequest {
    /// Secret of the operator.
    #[serde(serialize_with = "exposed")]
    pub secret: Secret,
}

impl JsonRequest for AdminAuthRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            secret: Member<Text<1024>>,
            /// Sent to this endpoint by mistake.
            client_secret: Member<Text<0>>,
        }
        let members: Members = read(body)?;
        if !members.secret.is_given() && members.client_secret.is_given() {
            let hint = "send {\"secret\": \"…\"}; client_id and client_secret are for `POST /v1/app/auth`";
            return Err(RequestError::OtherEndpoint { name: "secret", hint });
        }
        Ok(Self { secret: members.secret.secret("secret")? })
    }
}

/// Body of `POST /v1/app/auth`.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AppAuthRequest {
    /// Public name of the app's credentials.
    pub client_id: String,
    /// Secret of the app's credentials.
    #[serde(serialize_with = "exposed")]
    pub client_secret: Secret,
}

impl JsonRequest for AppAuthRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            client_id: Member<Text<128>>,
            client_secret: Member<Text<1024>>,
        }
        let members: Members = read(body)?;
        Ok(Self {
            client_id: members.client_id.stored_text("client_id")?,
            client_secret: members.client_secret.secret("client_secret")?,
        })
    }
}

/// Response to both logins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AuthResponse {
    /// Token of the operator or the app.
    #[serde(serialize_with = "exposed")]
    pub access_token: Secret,
    /// Lifetime of the token, in seconds.
    pub expires_in: u64,
    /// How the token is presented: [`TokenType::Bearer`].
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub token_type: Option<TokenType>,
    /// Scopes of an app's token.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub scopes: Option<ScopeSet>,
}
