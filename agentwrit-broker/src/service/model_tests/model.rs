//! The contract's rules about which tokens are valid, in the simplest terms: lists, from which nothing is deleted.

use std::collections::BTreeSet;

use agentwrit_verify::{AgentId, AppId, ClaimSet, Level, Scope, ScopeSet, Subject, Thumbprint, UnixTime};

use crate::{
    domain::{App, AppStatus},
    keys::Secret,
};

/// `AA_MAX_TTL`, short enough for sessions to reach it.
pub(super) const MAX_TTL: u64 = 90;

/// Every scope of the model; a subset is the bits of a number.
pub(super) const SCOPES: [&str; 6] =
    ["read:data:*", "read:data:a", "read:data:b", "write:data:*", "write:data:a", "run:job:x"];

pub(super) fn scopes(bits: u8) -> ScopeSet {
    let chosen = SCOPES.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    ScopeSet::parse(chosen.map(|(_, scope)| scope)).unwrap()
}

/// Returns whether each wanted scope is in `held`, or its wildcard is, without the library's own rule.
pub(super) fn covers(held: &ScopeSet, wanted: &ScopeSet) -> bool {
    let held: BTreeSet<&str> = held.iter().map(Scope::as_str).collect();
    wanted.iter().all(|scope| {
        let parts: Vec<&str> = scope.as_str().splitn(3, ':').collect();
        held.contains(scope.as_str()) || held.contains(format!("{}:{}:*", parts[0], parts[1]).as_str())
    })
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) apps: Vec<AppModel>,
    pub(super) agents: Vec<AgentModel>,
    pub(super) launch_tokens: Vec<LaunchModel>,
    pub(super) tokens: Vec<TokenModel>,
}

pub(super) struct AppModel {
    pub(super) app: App,
    pub(super) secret: Secret,
    /// The secret before the latest rotation, and the time from which it is not accepted.
    pub(super) former_secret: Option<(Secret, UnixTime)>,
    pub(super) ceiling: ScopeSet,
    /// It requires bound tokens.
    pub(super) binds: bool,
    pub(super) status: AppStatus,
}

/// On whose behalf a launch token is issued.
#[derive(Clone)]
pub(super) enum Owner {
    Operator,
    App { index: usize, app_id: AppId },
}

pub(super) struct AgentModel {
    pub(super) id: AgentId,
    pub(super) owner: Owner,
    pub(super) key: Thumbprint,
    /// All of its tokens are bound.
    pub(super) bound: bool,
    pub(super) barred: bool,
}

pub(super) struct LaunchModel {
    pub(super) secret: Secret,
    pub(super) scopes: ScopeSet,
    pub(super) max_ttl: u64,
    pub(super) single_use: bool,
    pub(super) binds: bool,
    pub(super) expires_at: UnixTime,
    pub(super) owner: Owner,
    /// First token of the session that requested it.
    pub(super) minted_in: Option<usize>,
    pub(super) usable: bool,
}

pub(super) struct TokenModel {
    pub(super) text: String,
    pub(super) claims: ClaimSet,
    pub(super) owner: Owner,
    /// The first token of its renewal family.
    pub(super) first: usize,
    /// First token of each delegator's session, root first.
    pub(super) delegated_from: Vec<usize>,
    pub(super) ttl: u64,
    pub(super) ended: bool,
}

impl TokenModel {
    pub(super) fn is_valid(&self, now: UnixTime) -> bool {
        !self.ended && now.seconds() < self.claims.exp
    }
}

impl Model {
    /// Returns whether the owner's app still allows `wanted`.
    pub(super) fn ceiling_allows(&self, owner: &Owner, wanted: &ScopeSet) -> bool {
        match owner {
            Owner::Operator => true,
            Owner::App { index, .. } => {
                let app = &self.apps[*index];
                app.status == AppStatus::Active && covers(&app.ceiling, wanted)
            }
        }
    }

    /// Returns whether each of these agents' own apps allows `wanted`.
    pub(super) fn ceilings_allow<'a>(&self, mut agents: impl Iterator<Item = &'a AgentId>, wanted: &ScopeSet) -> bool {
        agents.all(|agent| {
            let known = self.agents.iter().find(|known| known.id == *agent);
            known.is_some_and(|known| self.ceiling_allows(&known.owner, wanted))
        })
    }

    /// Returns whether the owner's app requires bound tokens.
    pub(super) fn app_binds(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Operator => false,
            Owner::App { index, .. } => self.apps[*index].binds,
        }
    }

    /// Returns the key that a new token of `agent` is bound to. `delegators` are those of its chain, `parent_is_bound` is of the
    /// token that it is renewed or delegated from.
    pub(super) fn bound_key<'a>(
        &self,
        agent: &AgentId,
        delegators: impl Iterator<Item = &'a AgentId>,
        parent_is_bound: bool,
    ) -> Option<Thumbprint> {
        let known = |id: &AgentId| self.agents.iter().find(|known| known.id == *id).expect("a known agent");
        let agent = known(agent);
        let by_app = self.app_binds(&agent.owner) || delegators.map(known).any(|known| self.app_binds(&known.owner));
        (parent_is_bound || agent.bound || by_app).then_some(agent.key)
    }

    pub(super) fn barred(&self, agent: &AgentId) -> bool {
        self.agents.iter().any(|known| known.id == *agent && known.barred)
    }

    /// Returns whether the agent may receive a delegation.
    pub(super) fn may_receive(&self, agent: &AgentId, now: UnixTime) -> bool {
        let until = self.tokens.iter().filter(|token| token.claims.sub.as_agent() == Some(agent));
        !self.barred(agent) && until.map(|token| token.claims.exp).max() > Some(now.seconds())
    }

    /// When a renewal issued at `iat` expires.
    pub(super) fn renewal_expiry(&self, token: usize, iat: u64) -> u64 {
        let token = &self.tokens[token];
        let session = self.tokens[token.first].claims.iat + MAX_TTL;
        let chain = token.claims.delegation_chain.iter().map(|hop| hop.expires_at.seconds());
        chain.chain([session, iat + token.ttl.min(MAX_TTL)]).min().unwrap()
    }

    pub(super) fn deregister(&mut self, index: usize) {
        self.stop_app(index);
        self.apps[index].status = AppStatus::Inactive;
    }

    /// False when the app is deregistered.
    pub(super) fn suspend(&mut self, index: usize) -> bool {
        if self.apps[index].status == AppStatus::Active {
            self.stop_app(index);
            self.apps[index].status = AppStatus::Suspended;
        }
        self.apps[index].status != AppStatus::Inactive
    }

    /// False when the app is deregistered.
    pub(super) fn resume(&mut self, index: usize) -> bool {
        if self.apps[index].status == AppStatus::Suspended {
            self.apps[index].status = AppStatus::Active;
        }
        self.apps[index].status != AppStatus::Inactive
    }

    fn stop_app(&mut self, index: usize) {
        let app = &self.apps[index];
        let subject = Subject::App(app.app.app_id.clone());
        self.tokens.iter_mut().filter(|token| token.claims.sub == subject).for_each(|token| token.ended = true);
        let of_app = |launch: &&mut LaunchModel| matches!(launch.owner, Owner::App { index: of, .. } if of == index);
        self.launch_tokens.iter_mut().filter(of_app).for_each(|launch| launch.usable = false);
    }

    /// Ends the tokens that a revocation names, and returns how many of them were valid.
    pub(super) fn revoke(&mut self, level: Level, target: &str, now: UnixTime) -> u64 {
        let family = self.tokens.iter().find(|token| token.claims.jti.to_string() == target).map(|token| token.first);
        let mut ended_count = 0;
        for token in &mut self.tokens {
            let subject = token.claims.sub.to_string();
            let chain = &token.claims.delegation_chain;
            let hit = match level {
                Level::Token => family.is_some_and(|f| token.first == f || token.delegated_from.contains(&f)),
                Level::Agent => subject == target || chain.iter().any(|hop| hop.agent.as_str() == target),
                Level::Task => token.claims.task_id.as_ref().is_some_and(|task| task.as_str() == target),
                Level::Chain => chain.first().map_or(subject.as_str(), |root| root.agent.as_str()) == target,
                Level::Session | Level::Issuer => unreachable!("no request names this level"),
            };
            ended_count += u64::from(hit && token.is_valid(now));
            token.ended |= hit;
        }
        for launch in &mut self.launch_tokens {
            let creator = match &launch.owner {
                Owner::Operator => Subject::Admin,
                Owner::App { app_id, .. } => Subject::App(app_id.clone()),
            };
            let hit = match level {
                Level::Token => family.is_some() && launch.minted_in == family,
                Level::Agent => creator.to_string() == target,
                Level::Task | Level::Chain | Level::Session | Level::Issuer => false,
            };
            launch.usable &= !hit;
        }
        if level == Level::Agent {
            self.agents.iter_mut().filter(|agent| agent.id.as_str() == target).for_each(|agent| agent.barred = true);
        }
        ended_count
    }
}
