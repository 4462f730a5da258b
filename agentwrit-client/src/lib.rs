#![doc = include_str!("../README.md")]

mod admin;
mod agent;
mod app;
mod error;
mod launch_token;
mod revocation;
mod secret;
mod session;
mod transport;
mod wire;

pub use self::{
    admin::{Admin, AdminBuilder, AppCredentials, AppRecord, AppUpdate, NewApp},
    agent::{Agent, AgentKey, AgentRequest, NewAgent},
    app::{App, AppBuilder, Health, Validation},
    error::ClientError,
    launch_token::{LaunchToken, LaunchTokenRequest},
    revocation::{RevocationTarget, Revoked},
    secret::Secret,
};
