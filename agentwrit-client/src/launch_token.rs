//! Launch tokens, each of which permits the registration of an agent.

use std::time::Duration;

use agentwrit_protocol::{LaunchTokenRequest, LaunchTokenResponse, Secret};
use agentwrit_verify::{PathSegment, ScopeSet, UnixTime};

use crate::{error::ClientError, request::ApiRequest, session::Session};

/// Launch token to be issued.
///
/// ```
/// use std::time::Duration;
/// use agentwrit_client::NewLaunchToken;
///
/// let request = NewLaunchToken::new("invoice reader", ["read:invoices:*"])?
///     .max_ttl(Duration::from_secs(120))
///     .pinned_to("billing", "invoice-4711")?;
/// # Ok::<(), agentwrit_client::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NewLaunchToken {
    agent_name: String,
    allowed_scope: ScopeSet,
    max_ttl: Option<Duration>,
    ttl: Option<Duration>,
    single_use: bool,
    sender_constrained: bool,
    run: Option<(PathSegment, PathSegment)>,
}

impl NewLaunchToken {
    /// Creates a launch token for an agent of that name (a label in the audit trail), which may request any of
    /// `allowed_scope`: 1 to 64 scopes. It registers one agent and is valid for the broker's default time.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when a scope is malformed, or there are none or too many.
    pub fn new<S: AsRef<str>>(
        agent_name: impl Into<String>,
        allowed_scope: impl IntoIterator<Item = S>,
    ) -> Result<Self, ClientError> {
        Ok(Self::within(agent_name.into(), parse_scopes("allowed scope", allowed_scope)?))
    }

    pub(crate) fn within(agent_name: String, allowed_scope: ScopeSet) -> Self {
        let (max_ttl, ttl, run) = (None, None, None);
        Self { agent_name, allowed_scope, max_ttl, ttl, single_use: true, sender_constrained: false, run }
    }

    /// Maximum lifetime of the agent's tokens: whole seconds, 1 s to 24 h.
    #[must_use]
    pub fn max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = Some(max_ttl);
        self
    }

    /// Lifetime of the launch token itself: whole seconds, 1 s to 1 h.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Permits any number of registrations until the launch token expires. The default is one.
    #[must_use]
    pub fn reusable(mut self) -> Self {
        self.single_use = false;
        self
    }

    /// Binds the agent's tokens to its key (RFC 9449): without the key, the tokens are of no use.
    #[must_use]
    pub fn sender_constrained(mut self) -> Self {
        self.sender_constrained = true;
        self
    }

    /// Restricts registrations to this orchestration and task.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when one of the ids is not a SPIFFE path segment.
    pub fn pinned_to(mut self, orch_id: &str, task_id: &str) -> Result<Self, ClientError> {
        self.run = Some((parse_segment("orch_id", orch_id)?, parse_segment("task_id", task_id)?));
        Ok(self)
    }

    pub(crate) fn pinned(mut self, orch_id: PathSegment, task_id: PathSegment) -> Self {
        self.run = Some((orch_id, task_id));
        self
    }

    pub(crate) async fn send(&self, session: &Session, path: &'static str) -> Result<LaunchToken, ClientError> {
        let request = ApiRequest::post(
            path,
            &LaunchTokenRequest {
                agent_name: self.agent_name.clone(),
                allowed_scope: self.allowed_scope.clone(),
                max_ttl: self.max_ttl.map(|ttl| whole_seconds("max_ttl", ttl)).transpose()?,
                single_use: self.single_use,
                ttl: self.ttl.map(|ttl| whole_seconds("ttl", ttl)).transpose()?,
                orch_id: self.run.as_ref().map(|(orch_id, _)| orch_id.clone()),
                task_id: self.run.as_ref().map(|(_, task_id)| task_id.clone()),
                sender_constrained: self.sender_constrained,
            },
        )?
        .with_secret_member("launch_token");
        let response: LaunchTokenResponse = session.fetch(&request).await?;
        Ok(LaunchToken {
            token: response.launch_token,
            id: response.launch_token_id,
            expires_at: response.expires_at,
            allowed_scope: response.policy.allowed_scope,
            max_ttl: Duration::from_secs(response.policy.max_ttl),
            sender_constrained: response.policy.sender_constrained,
        })
    }
}

/// Issued launch token. The broker keeps a digest only: no other response contains it.
#[derive(Clone, Debug)]
pub struct LaunchToken {
    token: Secret,
    id: Option<String>,
    expires_at: UnixTime,
    allowed_scope: ScopeSet,
    max_ttl: Duration,
    sender_constrained: bool,
}

impl LaunchToken {
    /// Returns the launch token itself.
    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// Returns the id by which the broker lists and deletes it, if the broker sends one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns its expiry.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// Returns the scopes that a registration may request.
    #[must_use]
    pub fn allowed_scope(&self) -> &ScopeSet {
        &self.allowed_scope
    }

    /// Returns the maximum lifetime of the agent's tokens; the broker may have granted less than requested.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// Returns true if the agent's tokens will be bound to its key.
    #[must_use]
    pub fn sender_constrained(&self) -> bool {
        self.sender_constrained
    }
}

pub(crate) fn parse_scopes<S: AsRef<str>>(
    field: &'static str,
    scopes: impl IntoIterator<Item = S>,
) -> Result<ScopeSet, ClientError> {
    ScopeSet::parse(scopes).map_err(|error| ClientError::invalid(field, &error))
}

pub(crate) fn parse_segment(field: &'static str, segment: &str) -> Result<PathSegment, ClientError> {
    PathSegment::parse(segment).map_err(|error| ClientError::invalid(field, &error))
}

/// Converts a duration to whole seconds; one below a second is an error, not zero.
pub(crate) fn whole_seconds(field: &'static str, duration: Duration) -> Result<u64, ClientError> {
    match duration.as_secs() {
        0 => Err(ClientError::invalid(field, &format!("`{duration:?}` is shorter than a second"))),
        seconds => Ok(seconds),
    }
}
