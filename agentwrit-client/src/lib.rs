#![doc = include_str!("../README.md")]

mod admin;
mod agent;
mod agent_key;
mod app;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod attach;
mod call;
mod ceremony;
mod client;
mod delegation;
mod error;
mod keeper;
mod launch_token;
#[cfg(feature = "tower")]
mod layer;
mod lists;
mod live_agent;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod registration;
mod retry;
mod revocation;
mod salvaged;
mod session;
mod token_store;
mod transport;
mod upkeep;

pub use agentwrit_protocol::{
    AgentRecord, AgentStatus, AppRecord, AppStatus, AuditQuery, HealthResponse, LaunchTokenRecord, ListResponse, Page,
    RevocationRecord, RevocationResponse, RevocationTarget, Secret,
};
pub use agentwrit_verify::http_client::TransportErrorKind;

#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
pub use self::attach::{Origins, TokenSource};
#[cfg(feature = "tower")]
pub use self::layer::{Authorize, AuthorizeError, AuthorizeLayer, ResponseFuture};
#[cfg(feature = "reqwest-middleware")]
pub use self::middleware::AuthorizeMiddleware;
pub use self::{
    admin::{Admin, AppCredentials, AppUpdate, NewApp},
    agent::Agent,
    agent_key::AgentKey,
    app::App,
    ceremony::{AgentRequest, NewAgent},
    client::{Client, ClientBuilder, Validation},
    delegation::Delegated,
    error::{ClientError, ReceivedSecret},
    launch_token::{LaunchToken, NewLaunchToken},
    live_agent::{AgentState, KeepAlive, LiveAgent},
    registration::Registration,
    retry::Pause,
    token_store::{StoredToken, TokenStore},
};
