//! Agents of a workload that another issuer attests: no secret of the broker is needed.

use std::{fmt, sync::Arc};

use agentwrit_protocol::{Attestation, ErrorCode};
use agentwrit_verify::{PathSegment, ScopeSet};

use crate::{
    agent::Agent,
    agent_key::AgentKey,
    attestation_source::{AttestationSource, DynAttestationSource},
    client::Client,
    error::ClientError,
    launch_token::{parse_scopes, parse_segment},
    registration::{Permission, RegisteringAgent},
    used_assertions::UsedAssertions,
};

impl Client {
    /// Returns the workload that the assertions of `source` identify. A trust rule of the broker
    /// (`awrit trust add`) decides which agents it may register. Sends nothing.
    ///
    /// ```no_run
    /// use agentwrit_client::{Client, FileSource};
    ///
    /// # async fn example() -> Result<(), agentwrit_client::ClientError> {
    /// let client = Client::new("https://broker.example")?;
    /// let workload = client.attested(FileSource::kubernetes("/var/run/secrets/agentwrit/token"));
    /// let agent = workload.agent(["read:invoices:*"])?.create().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn attested(&self, source: impl AttestationSource) -> AttestedWorkload {
        AttestedWorkload { client: self.clone(), source: Arc::new(source), used: Arc::default() }
    }
}

/// Workload that another issuer attests. Clones are cheap and share the source.
///
/// 1. Every registration asks the source for an assertion. One that the broker may have accepted is not sent again,
///    neither by a clone: the error tells to wait for another one.
/// 2. What the assertion grants lies within its trust rule and the ceiling of the rule's app. The rule may determine
///    `orch_id` and `task_id`; the request names them where it does not.
/// 3. The broker does not tell why it rejected an assertion: its log and its audit trail do, by the request id.
#[derive(Clone)]
pub struct AttestedWorkload {
    client: Client,
    source: Arc<dyn DynAttestationSource>,
    used: Arc<UsedAssertions>,
}

impl AttestedWorkload {
    /// Starts the registration of an agent with 1 to 64 scopes: as few and as narrow as the task allows.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when a scope is malformed.
    pub fn agent<S: AsRef<str>>(
        &self,
        scope: impl IntoIterator<Item = S>,
    ) -> Result<AttestedAgentRequest, ClientError> {
        Ok(AttestedAgentRequest {
            workload: self.clone(),
            scope: parse_scopes("scope", scope)?,
            orch_id: None,
            task_id: None,
            key: None,
            sender_constrained: false,
        })
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for AttestedWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.source.dyn_kind();
        f.debug_struct("AttestedWorkload")
            .field("broker_url", &self.client.url())
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}

/// Agent of an attested workload, to be registered by [`AttestedAgentRequest::create`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AttestedAgentRequest {
    workload: AttestedWorkload,
    scope: ScopeSet,
    orch_id: Option<PathSegment>,
    task_id: Option<PathSegment>,
    key: Option<AgentKey>,
    sender_constrained: bool,
}

impl AttestedAgentRequest {
    /// Orchestration, part of the agent's SPIFFE id. Default: the one that the trust rule makes of the claims.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not 1 to 128 of `A-Z a-z 0-9 . _ -`, or is `.` or `..`.
    pub fn orch_id(mut self, orch_id: &str) -> Result<Self, ClientError> {
        self.orch_id = Some(parse_segment("orch_id", orch_id)?);
        Ok(self)
    }

    /// Task, part of the agent's SPIFFE id. Default: the one that the trust rule makes of the claims.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not 1 to 128 of `A-Z a-z 0-9 . _ -`, or is `.` or `..`.
    pub fn task_id(mut self, task_id: &str) -> Result<Self, ClientError> {
        self.task_id = Some(parse_segment("task_id", task_id)?);
        Ok(self)
    }

    /// Key of the agent. Default: a new one, which never leaves this process.
    pub fn signing_key(mut self, key: AgentKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Binds the agent's tokens to its key (RFC 9449): without the key, the tokens are of no use. The agent signs the
    /// proofs by itself; services must accept the scheme `DPoP`.
    pub fn sender_constrained(mut self) -> Self {
        self.sender_constrained = true;
        self
    }

    /// Registers the agent.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoAssertion`] when the source has none, or none that was not used; [`ClientError::Rejected`] with
    /// `unauthorized` when no trust rule accepts the assertion, and with `scope_violation` beyond the rule or the app's
    /// ceiling; any error of the network. After [`ClientError::Timeout`] an agent may exist whose token was lost.
    pub async fn create(self) -> Result<Agent, ClientError> {
        self.register().await
    }

    /// Repeatable form of [`AttestedAgentRequest::create`]: each call registers another agent, with another assertion.
    pub(crate) async fn register(&self) -> Result<Agent, ClientError> {
        let AttestedWorkload { client, source, used } = &self.workload;
        let key = self.key.clone().map_or_else(AgentKey::generate, Ok)?;
        let token = source.dyn_token().await.map_err(|error| error.retryable_if(source.dyn_is_renewed()))?;
        let mark = used.mark(&token).ok_or_else(|| already_used(source.dyn_is_renewed()))?;
        let nonce = client.challenge().await.inspect_err(|_| used.unmark(&mark))?;
        let agent = RegisteringAgent {
            permission: Permission::Attestation(Attestation { kind: source.dyn_kind(), token }),
            orch_id: self.orch_id.as_ref(),
            task_id: self.task_id.as_ref(),
            scope: &self.scope,
            sender_constrained: self.sender_constrained,
            key: &key,
        };
        client.register_agent(agent, nonce).await.inspect_err(|error| {
            if consumed_nothing(error) {
                used.unmark(&mark);
            }
        })
    }
}

/// Error of an assertion that the broker may have accepted before.
fn already_used(is_renewed: bool) -> ClientError {
    let reason = if is_renewed {
        "the current one was used for a registration, and each counts once: try again when its issuer has replaced it"
    } else {
        "it was used for a registration, and each counts once: get another one"
    };
    ClientError::no_assertion(reason).retryable_if(is_renewed)
}

/// Returns true if the broker did not accept the assertion: a rejection consumes nothing (contract §4).
fn consumed_nothing(error: &ClientError) -> bool {
    let is_declined = error.error_code() == Some(ErrorCode::Unavailable.as_str());
    is_declined || matches!(error.status(), Some(400..=499)) || error.is_before_sending()
}
