//! Registrations with a launch token.

use agentwrit_protocol::{Nonce, Presented, PublicKeyBytes, RegistrationRequest, Secret, SignatureBytes};
use agentwrit_verify::{PathSegment, ScopeSet};

/// A registration with a launch token.
#[derive(Debug)]
pub(super) struct LaunchRegistration {
    pub(super) launch_token: Secret,
    pub(super) nonce: Presented<Nonce>,
    pub(super) public_key: Presented<PublicKeyBytes>,
    pub(super) signature: Presented<SignatureBytes>,
    pub(super) orch_id: PathSegment,
    pub(super) task_id: PathSegment,
    pub(super) requested_scope: ScopeSet,
    pub(super) sender_constrained: bool,
}

impl LaunchRegistration {
    /// Returns none for a registration with an attestation.
    pub(super) fn new(request: RegistrationRequest) -> Option<Self> {
        Some(Self {
            launch_token: request.launch_token?,
            nonce: request.nonce,
            public_key: request.public_key,
            signature: request.signature,
            orch_id: request.orch_id?,
            task_id: request.task_id?,
            requested_scope: request.requested_scope,
            sender_constrained: request.sender_constrained,
        })
    }
}
