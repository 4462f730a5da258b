#![doc = include_str!("../README.md")]

mod admin;
mod agent;
mod agent_key;
mod app;
mod ceremony;
mod delegation;
mod error;
mod launch_token;
mod revocation;
mod secret;
mod session;
mod transport;
mod wire;

pub use self::{
    admin::{Admin, AdminBuilder, AppCredentials, AppRecord, AppUpdate, NewApp},
    agent::Agent,
    agent_key::AgentKey,
    app::{App, AppBuilder, Health, Validation},
    ceremony::{AgentRequest, NewAgent},
    delegation::Delegated,
    error::ClientError,
    launch_token::{LaunchToken, LaunchTokenRequest},
    revocation::{RevocationTarget, Revoked},
    secret::Secret,
};
