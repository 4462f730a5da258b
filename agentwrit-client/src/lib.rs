#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod admin;
mod agent;
mod agent_key;
mod agent_request;
mod agent_state;
mod agent_token;
mod app;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod at_least;
mod attestation_source;
mod attested;
mod authorization;
mod client;
mod credentials;
mod delegated_token;
mod error;
mod github_actions;
mod launch_token;
#[cfg(feature = "tower")]
mod layer;
mod lists;
mod live_agent;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod one_time_secret;
mod registration;
mod renewal_schedule;
mod renewal_task;
mod repeatable_registration;
mod request;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
mod request_authorizer;
mod retry;
mod revocation;
mod session;
mod signing_keys;
mod token_store;
mod transport;
mod trust_rules;
mod used_assertions;
mod verifiers;

pub use agentwrit_protocol::{
    AgentQuery, AgentRecord, AgentStatus, AppRecord, AppStatus, AttestationKind, AuditQuery, ClaimMatch, ClaimValue,
    ConfirmationResponse, HealthResponse, JwkSetText, KeyChangeRequest, KeyState, LaunchTokenRecord, ListResponse,
    ListedState, Page, PermittedBound, PublicKeyBytes, RevocationRecord, RevocationResponse, RevocationTarget, Secret,
    SecretRotationResponse, SigningKeyRecord, TokenQuery, TokenRecord, TokenState, TokenType, TrustRuleRecord,
    TrustRuleRequest, VerifierEnrolmentRequest, VerifierInstance, VerifierRecord, VerifierUpdateRequest,
};
pub use agentwrit_verify::http_client::TransportErrorKind;

#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
pub use self::at_least::AtLeast;
#[cfg(feature = "tower")]
pub use self::layer::{Authorize, AuthorizeError, AuthorizeLayer, ProofRetryPolicy, ResponseFuture};
#[cfg(feature = "reqwest-middleware")]
pub use self::middleware::AuthorizeMiddleware;
#[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
pub use self::request_authorizer::{AuthorizationProvider, Origins};
pub use self::{
    admin::{Admin, AppCredentials, AppUpdate, NewApp},
    agent::Agent,
    agent_key::AgentKey,
    agent_request::{AgentRequest, NewAgent},
    agent_state::AgentState,
    app::App,
    attestation_source::{AttestationSource, EnvSource, FileSource, StaticSource},
    attested::{AttestedAgentRequest, AttestedWorkload},
    client::{Client, ClientBuilder, Validation},
    credentials::RequestCredentials,
    delegated_token::DelegatedToken,
    error::{ClientError, ReceivedSecret},
    github_actions::GitHubActionsSource,
    launch_token::{LaunchToken, NewLaunchToken},
    live_agent::{KeepAlive, LiveAgent},
    registration::Registration,
    retry::RetryDelay,
    token_store::{StoredToken, TokenStore},
};
