//! Rows of names, apps, agents, tokens, nonces and launch tokens.

use agentwrit_verify::{AppId, PathSegment, TokenId, UnixTime};

use super::{
    super::{
        codec::{joined, micros, signed},
        value::Value,
    },
    record::{
        Kind::{Boolean, Bytes, Integer, Text},
        Record,
        Verb::{Delete, Insert, Update},
        Write,
    },
};
use crate::domain::{App, AppStatus, IssuedToken, LaunchToken, LaunchTokenId, RegisteredAgent};

macro_rules! write_to {
    ($verb:ident $table:literal { $($column:literal: $kind:ident),* $(,)? }) => {
        const WRITE: Write = Write { verb: $verb, table: $table, columns: &[$(($column, $kind)),*] };
    };
}

/// A new name.
#[derive(Debug)]
pub(in crate::store) struct NameRow {
    pub(in crate::store) id: i64,
    pub(in crate::store) name: String,
    pub(in crate::store) app: Option<i64>,
}

impl Record for NameRow {
    write_to!(Insert "names" { "id": Integer, "name": Text, "app": Integer });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.extend([self.id.into(), (&self.name).into(), self.app.into()]);
    }
}

/// A new app.
#[derive(Debug)]
pub(in crate::store) struct AppRow {
    pub(in crate::store) id: i64,
    pub(in crate::store) app: App,
}

impl Record for AppRow {
    write_to!(Insert "apps" {
        "id": Integer, "app_id": Text, "name": Text, "client_id": Text, "secret_digest": Bytes, "scopes": Text,
        "token_ttl": Integer, "sender_constrained": Boolean, "active": Boolean, "suspended": Boolean,
        "created_at": Integer, "updated_at": Integer, "deregistered_at": Integer, "former_digest": Bytes,
        "former_expires_at": Integer
    });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self { id, app } = self;
        values.extend([
            (*id).into(),
            app.app_id.as_str().into(),
            app.name.as_str().into(),
            (&app.client_id).into(),
            app.secret_digest.as_bytes().into(),
            joined(&app.scopes).into(),
            signed(app.token_ttl).into(),
            app.sender_constrained.into(),
            (app.status != AppStatus::Inactive).into(),
            (app.status == AppStatus::Suspended).into(),
            app.created_at.into(),
            app.updated_at.into(),
            app.deregistered_at.into(),
            app.former_secret.as_ref().map(|former| former.digest.as_bytes()).into(),
            app.former_secret.map(|former| former.expires_at).into(),
        ]);
    }
}

/// An app with another secret, other scopes, token lifetime, binding of tokens, status or times.
#[derive(Debug)]
pub(in crate::store) struct AppChange(pub(in crate::store) App);

impl Record for AppChange {
    write_to!(Update "apps" {
        "app_id": Text, "secret_digest": Bytes, "former_digest": Bytes, "former_expires_at": Integer, "scopes": Text,
        "token_ttl": Integer, "sender_constrained": Boolean, "active": Boolean, "suspended": Boolean,
        "updated_at": Integer, "deregistered_at": Integer
    });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self(app) = self;
        values.extend([
            app.app_id.as_str().into(),
            app.secret_digest.as_bytes().into(),
            app.former_secret.as_ref().map(|former| former.digest.as_bytes()).into(),
            app.former_secret.map(|former| former.expires_at).into(),
            joined(&app.scopes).into(),
            signed(app.token_ttl).into(),
            app.sender_constrained.into(),
            (app.status != AppStatus::Inactive).into(),
            (app.status == AppStatus::Suspended).into(),
            app.updated_at.into(),
            app.deregistered_at.into(),
        ]);
    }
}

/// A new agent.
#[derive(Debug)]
pub(in crate::store) struct AgentRow {
    pub(in crate::store) id: i64,
    pub(in crate::store) app: Option<i64>,
    pub(in crate::store) task: i64,
    pub(in crate::store) agent: RegisteredAgent,
}

impl Record for AgentRow {
    write_to!(Insert "agents" {
        "id": Integer, "app": Integer, "task": Integer, "scope": Text, "public_key": Bytes, "sender_constrained": Boolean,
        "launch_token_id": Bytes, "registered_at": Integer, "expires_at": Integer, "revoked_at": Integer,
        "attested_by": Text, "attested_issuer": Text, "attested_subject": Text, "pod_uid": Text
    });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self { id, app, task, agent } = self;
        let attested = agent.registered_with.attestation();
        values.extend([
            (*id).into(),
            (*app).into(),
            (*task).into(),
            joined(&agent.scope).into(),
            (&agent.public_key).into(),
            agent.sender_constrained.into(),
            agent.registered_with.launch_token().map(LaunchTokenId::as_bytes).into(),
            agent.registered_at.into(),
            agent.expires_at.into(),
            agent.revoked_at.into(),
            attested.map(|identity| identity.rule.as_str()).into(),
            attested.map(|identity| identity.issuer.as_str()).into(),
            attested.map(|identity| identity.subject.as_str()).into(),
            attested.and_then(|identity| identity.pod_uid.as_deref()).into(),
        ]);
    }
}

/// An agent that holds a token until another time, or is barred.
#[derive(Debug)]
pub(in crate::store) struct AgentChange {
    pub(in crate::store) id: i64,
    pub(in crate::store) expires_at: UnixTime,
    pub(in crate::store) revoked_at: Option<UnixTime>,
}

impl Record for AgentChange {
    write_to!(Update "agents" { "id": Integer, "expires_at": Integer, "revoked_at": Integer });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.extend([self.id.into(), self.expires_at.into(), self.revoked_at.into()]);
    }
}

/// A new token, with the numbers of its names.
#[derive(Debug)]
pub(in crate::store) struct TokenRow {
    pub(in crate::store) subject: i64,
    pub(in crate::store) app: Option<i64>,
    pub(in crate::store) task: Option<i64>,
    pub(in crate::store) root: Option<i64>,
    pub(in crate::store) token: IssuedToken,
}

impl Record for TokenRow {
    write_to!(Insert "tokens" {
        "jti": Bytes, "sid": Bytes, "subject": Integer, "app": Integer, "task": Integer, "root": Integer,
        "issued_at": Integer, "expires_at": Integer, "original_ttl": Integer, "session_started_at": Integer,
        "sender_constrained": Boolean, "scope": Text
    });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self { token, .. } = self;
        values.extend([
            token.jti.as_bytes().into(),
            token.sid.as_bytes().into(),
            self.subject.into(),
            self.app.into(),
            self.task.into(),
            self.root.into(),
            token.issued_at.into(),
            token.expires_at.into(),
            signed(token.original_ttl).into(),
            token.session_started_at.into(),
            token.sender_constrained.into(),
            token.scope.as_ref().map(joined).into(),
        ]);
    }
}

/// A delegator of a new token.
#[derive(Debug)]
pub(in crate::store) struct DelegatorRow {
    pub(in crate::store) jti: TokenId,
    pub(in crate::store) hop: i64,
    pub(in crate::store) agent: i64,
    pub(in crate::store) sid: TokenId,
}

impl Record for DelegatorRow {
    write_to!(Insert "token_delegators" { "jti": Bytes, "hop": Integer, "agent": Integer, "sid": Bytes });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let (jti, sid) = (self.jti.as_bytes(), self.sid.as_bytes());
        values.extend([jti.into(), self.hop.into(), self.agent.into(), sid.into()]);
    }
}

/// The end of a token.
#[derive(Debug)]
pub(in crate::store) struct TokenEnd {
    pub(in crate::store) jti: TokenId,
    pub(in crate::store) at: UnixTime,
}

impl Record for TokenEnd {
    write_to!(Update "tokens" { "jti": Bytes, "ended_at": Integer });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.extend([self.jti.as_bytes().into(), self.at.into()]);
    }
}

/// The use of a nonce.
#[derive(Debug)]
pub(in crate::store) struct NonceRow {
    pub(in crate::store) nonce: [u8; 32],
    pub(in crate::store) expires_at: UnixTime,
}

impl Record for NonceRow {
    write_to!(Insert "spent_nonces" { "nonce": Bytes, "expires_at": Integer });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.extend([(&self.nonce).into(), self.expires_at.into()]);
    }
}

/// A new launch token.
#[derive(Debug)]
pub(in crate::store) struct LaunchTokenRow {
    pub(in crate::store) seq: i64,
    pub(in crate::store) token: LaunchToken,
}

impl Record for LaunchTokenRow {
    write_to!(Insert "launch_tokens" {
        "seq": Integer, "id": Bytes, "digest": Bytes, "agent_name": Text, "allowed_scope": Text, "max_ttl": Integer,
        "single_use": Boolean, "created_at": Integer, "expires_at": Integer, "created_by": Text, "app_id": Text,
        "orch_id": Text, "task_id": Text, "consumed_at": Integer, "minted_in": Bytes, "sender_constrained": Boolean
    });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self { seq, token } = self;
        values.extend([
            (*seq).into(),
            token.id.as_bytes().into(),
            token.digest.as_bytes().into(),
            (&token.agent_name).into(),
            joined(&token.allowed_scope).into(),
            signed(token.max_ttl).into(),
            token.single_use.into(),
            token.created_at.into(),
            token.expires_at.into(),
            token.created_by.to_string().into(),
            token.app_id.as_ref().map(AppId::as_str).into(),
            token.orch_id.as_ref().map(PathSegment::as_str).into(),
            token.task_id.as_ref().map(PathSegment::as_str).into(),
            token.consumed_at.into(),
            token.minted_in.as_ref().map(TokenId::as_bytes).into(),
            token.sender_constrained.into(),
        ]);
    }
}

/// The use of a launch token for single use.
#[derive(Debug)]
pub(in crate::store) struct LaunchTokenUse {
    pub(in crate::store) id: LaunchTokenId,
    pub(in crate::store) at: UnixTime,
}

impl Record for LaunchTokenUse {
    write_to!(Update "launch_tokens" { "id": Bytes, "consumed_at": Integer });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.extend([self.id.as_bytes().into(), micros(self.at).into()]);
    }
}

/// The deletion of a launch token.
#[derive(Debug)]
pub(in crate::store) struct LaunchTokenDeletion(pub(in crate::store) LaunchTokenId);

impl Record for LaunchTokenDeletion {
    write_to!(Delete "launch_tokens" { "id": Bytes });

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.push(self.0.as_bytes().into());
    }
}
