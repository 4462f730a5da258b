//! `POST /v1/register`.

use agentwrit_protocol::{Nonce, PublicKeyBytes, RegistrationRequest as Registration, SignatureBytes};
use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    client::Client,
    members::{JsonBody, Member, Scopes, Segment, Text},
    parameters::NoParameters,
    problem::Failure,
};
use crate::service::Error;

pub(super) async fn register(
    State(services): State<Shared>,
    Client(client): Client,
    _: NoParameters,
    body: JsonBody<RegistrationRequest>,
) -> Result<Json<Value>, Failure> {
    let (agent_id, issued) = services.registrations.register(body.read()?, client).await?;
    Ok(Json(json!({
        "agent_id": agent_id, "access_token": issued.access_token, "expires_in": issued.expires_in,
    })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RegistrationRequest {
    launch_token: Member<Text<128>>,
    nonce: Member<Text<128>>,
    public_key: Member<Text<512>>,
    signature: Member<Text<512>>,
    orch_id: Member<Segment>,
    task_id: Member<Segment>,
    requested_scope: Member<Scopes>,
}

impl RegistrationRequest {
    fn read(&self) -> Result<Registration, Error> {
        Ok(Registration {
            launch_token: self.launch_token.secret("launch_token")?.expose().into(),
            nonce: Nonce::decode(self.nonce.text("nonce")?).into(),
            public_key: PublicKeyBytes::decode(self.public_key.text("public_key")?).into(),
            signature: SignatureBytes::decode(self.signature.text("signature")?).into(),
            orch_id: self.orch_id.segment("orch_id")?,
            task_id: self.task_id.segment("task_id")?,
            requested_scope: self.requested_scope.scopes("requested_scope")?,
        })
    }
}
