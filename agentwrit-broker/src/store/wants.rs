//! Keys of the rows that jobs will read: hints, with which a store reads the rows of a whole batch at once.
//!
//! A key that is not named costs a round trip, never another result.

use agentwrit_verify::{AgentId, AppId, PathSegment, Subject, TokenId, UnixTime};

use super::audit_lists::kind;
use crate::{
    audit::{EventType, Outcome},
    domain::{Digest, LaunchTokenId, TrustRuleId},
};

/// Keys of the rows that jobs will read.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Wants {
    pub(super) launch_digests: Vec<[u8; 32]>,
    pub(super) launch_tokens: Vec<LaunchTokenId>,
    pub(super) apps: Vec<AppId>,
    pub(super) agents: Vec<AgentId>,
    pub(super) tokens: Vec<TokenId>,
    /// Nonces, each with the time at which it expires.
    pub(super) nonces: Vec<([u8; 32], UnixTime)>,
    pub(super) trust_rules: Vec<TrustRuleId>,
    /// Assertions that may have been used.
    pub(super) assertions: Vec<[u8; 32]>,
    /// Targets of not-before marks.
    pub(super) marks: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) events: Vec<WantedEvent>,
}

/// An event that a job will append: the lists in which it is numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedEvent {
    pub(super) kind: i64,
    pub(super) actor: String,
    pub(super) task: Option<String>,
    /// Name of the app of an actor that is not registered yet.
    pub(super) app: Option<String>,
}

impl Wants {
    /// No key.
    pub fn none() -> Self {
        Self::default()
    }

    /// The launch token with this digest.
    pub fn launch_digest(mut self, digest: &Digest) -> Self {
        self.launch_digests.push(*digest.as_bytes());
        self
    }

    /// The launch token with this id.
    pub fn launch_token(mut self, id: LaunchTokenId) -> Self {
        self.launch_tokens.push(id);
        self
    }

    /// An app.
    pub fn app(mut self, app_id: &AppId) -> Self {
        self.apps.push(app_id.clone());
        self
    }

    /// An agent.
    pub fn agent(mut self, agent_id: &AgentId) -> Self {
        self.agents.push(agent_id.clone());
        self.name(agent_id.as_str())
    }

    /// A token.
    pub fn token(mut self, jti: &TokenId) -> Self {
        self.tokens.push(*jti);
        self
    }

    /// The use of a nonce, which determines when it expires.
    pub fn nonce(mut self, nonce: &[u8; 32], expires_at: UnixTime) -> Self {
        self.nonces.push((*nonce, expires_at));
        self
    }

    /// A trust rule.
    pub fn trust_rule(mut self, id: &TrustRuleId) -> Self {
        self.trust_rules.push(id.clone());
        self
    }

    /// The use of an assertion.
    pub fn assertion(mut self, assertion: &Digest) -> Self {
        self.assertions.push(*assertion.as_bytes());
        self
    }

    /// The latest not-before mark on a subject, task or root delegator.
    pub fn mark(mut self, target: &str) -> Self {
        self.marks.push(target.to_owned());
        self
    }

    /// A subject or task id.
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// The numbers of a successful event. `app` is that of an agent that will register.
    pub fn event(
        mut self,
        event_type: EventType,
        actor: &Subject,
        task: Option<&PathSegment>,
        app: Option<&AppId>,
    ) -> Self {
        let app = app.map(|app_id| Subject::App(app_id.clone()).to_string());
        let task = task.map(|task| task.as_str().to_owned());
        let actor = actor.to_string();
        self.names.extend([Some(actor.clone()), task.clone(), app.clone()].into_iter().flatten());
        self.events.push(WantedEvent { kind: kind(event_type, Outcome::Success), actor, task, app });
        self
    }

    /// Returns true if there is no key. Events are none.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            launch_digests,
            launch_tokens,
            apps,
            agents,
            tokens,
            nonces,
            trust_rules,
            assertions,
            marks,
            names,
            events: _,
        } = self;
        launch_digests.is_empty()
            && launch_tokens.is_empty()
            && apps.is_empty()
            && agents.is_empty()
            && tokens.is_empty()
            && nonces.is_empty()
            && trust_rules.is_empty()
            && assertions.is_empty()
            && marks.is_empty()
            && names.is_empty()
    }

    /// Removes keys that several jobs named.
    pub(super) fn deduplicate(&mut self) {
        fn unique<K: Ord>(keys: &mut Vec<K>) {
            keys.sort_unstable();
            keys.dedup();
        }
        let Self {
            launch_digests,
            launch_tokens,
            apps,
            agents,
            tokens,
            nonces,
            trust_rules,
            assertions,
            marks,
            names,
            events: _,
        } = self;
        unique(launch_digests);
        unique(launch_tokens);
        unique(apps);
        unique(agents);
        unique(tokens);
        unique(nonces);
        unique(trust_rules);
        unique(assertions);
        unique(marks);
        unique(names);
    }

    /// Adds the keys of other jobs.
    pub(super) fn extend(&mut self, other: Self) {
        let Self {
            launch_digests,
            launch_tokens,
            apps,
            agents,
            tokens,
            nonces,
            trust_rules,
            assertions,
            marks,
            names,
            events,
        } = other;
        self.launch_digests.extend(launch_digests);
        self.launch_tokens.extend(launch_tokens);
        self.apps.extend(apps);
        self.agents.extend(agents);
        self.tokens.extend(tokens);
        self.nonces.extend(nonces);
        self.trust_rules.extend(trust_rules);
        self.assertions.extend(assertions);
        self.marks.extend(marks);
        self.names.extend(names);
        self.events.extend(events);
    }
}
