//! Launch tokens: the permission to register one agent.

use std::time::Duration;

use agentwrit_protocol::{LaunchTokenRequest, LaunchTokenResponse, Secret};
use agentwrit_verify::{PathSegment, ScopeSet, UnixTime};

use crate::{error::ClientError, request::ApiRequest, session::Session};

/// A launch token to be issued.
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
    run: Option<(PathSegment, PathSegment)>,
}

impl NewLaunchToken {
    /// A launch token for an agent of that name (a label for people and the audit trail), which may ask for any of
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
        Self { agent_name, allowed_scope, max_ttl: None, ttl: None, single_use: true, run: None }
    }

    /// How long the agent's tokens live: whole seconds, 1 s to 24 h.
    #[must_use]
    pub fn max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = Some(max_ttl);
        self
    }

    /// How long the launch token itself can be used: whole seconds, 1 s to 1 h.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Lets the launch token register any number of agents until it expires. Without this it registers one.
    #[must_use]
    pub fn reusable(mut self) -> Self {
        self.single_use = false;
        self
    }

    /// Lets the launch token register agents of this orchestration and task only.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when one of the ids is no SPIFFE path segment.
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
        })
    }
}

/// A launch token as the broker issued it. The broker keeps a digest only: this is the one time that it is shown.
#[derive(Clone, Debug)]
pub struct LaunchToken {
    token: Secret,
    id: Option<String>,
    expires_at: UnixTime,
    allowed_scope: ScopeSet,
    max_ttl: Duration,
}

impl LaunchToken {
    /// The launch token itself.
    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// The name under which the broker lists and deletes it, if the broker gives one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// When it stops to be usable.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// What a registration may ask for.
    #[must_use]
    pub fn allowed_scope(&self) -> &ScopeSet {
        &self.allowed_scope
    }

    /// How long the agent's tokens will live; the broker may have granted less than was asked for.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
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

/// Durations on the wire are whole seconds; a shorter one must not silently become zero.
pub(crate) fn whole_seconds(field: &'static str, duration: Duration) -> Result<u64, ClientError> {
    match duration.as_secs() {
        0 => Err(ClientError::invalid(field, &format!("`{duration:?}` is shorter than a second"))),
        seconds => Ok(seconds),
    }
}
