#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod app;
mod attestation;
mod audit;
mod claim_match;
mod confirmation;
mod encoding;
mod health;
mod inventory;
mod jwk_set;
mod launch_token;
mod lenient;
pub mod limits;
mod list;
mod login;
mod members;
pub mod paths;
mod problem;
mod registration;
mod request;
mod request_id;
mod revocation;
mod secret;
mod signing_keys;
mod token;
mod token_type;
mod trust_rule;
mod verifiers;

pub use agentwrit_json::JsonError;
pub use agentwrit_verify::audit::{Event, EventId, EventType, Outcome};

pub use self::{
    app::{
        AppCreationRequest, AppCreationResponse, AppDeregistrationResponse, AppListResponse, AppRecord, AppStatus,
        AppUpdateRequest, SecretRotationRequest, SecretRotationResponse,
    },
    attestation::{Attestation, AttestationKind},
    audit::AuditQuery,
    claim_match::{ClaimMatch, ClaimValue},
    confirmation::ConfirmationResponse,
    encoding::{Base64, Hex, Presented},
    health::HealthResponse,
    inventory::{AgentQuery, ListedState, TokenQuery, TokenRecord, TokenState},
    jwk_set::JwkSetText,
    launch_token::{LaunchTokenPolicy, LaunchTokenRecord, LaunchTokenRequest, LaunchTokenResponse},
    list::{ListEntry, ListResponse, Page},
    login::{AdminAuthRequest, AppAuthRequest, AuthResponse},
    problem::{ErrorCode, Problem},
    registration::{
        AgentRecord, AgentStatus, ChallengeResponse, Nonce, PublicKeyBytes, RegistrationRequest, RegistrationResponse,
        SignatureBytes,
    },
    request::{JsonRequest, RequestError},
    request_id::RequestId,
    revocation::{RevocationRecord, RevocationRequest, RevocationResponse, RevocationTarget},
    secret::Secret,
    signing_keys::{KeyChangeRequest, KeyState, SigningKeyRecord},
    token::{
        DelegationRequest, DelegationResponse, RenewalResponse, ReportedClaims, ValidationRequest, ValidationResponse,
    },
    token_type::TokenType,
    trust_rule::{TrustRuleRecord, TrustRuleRequest},
    verifiers::{PermittedBound, VerifierEnrolmentRequest, VerifierInstance, VerifierRecord, VerifierUpdateRequest},
};
