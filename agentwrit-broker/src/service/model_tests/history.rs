//! One history: each operation is done to the services and to the model, and they are compared.

use std::time::Duration;

use agentwrit_protocol::DelegationRequest;
use agentwrit_verify::{AgentId, Claims, Level, ScopeSet, Subject, Thumbprint};
use proptest::sample::Index;

use super::{
    model::{AgentModel, AppModel, LaunchModel, MAX_TTL, Model, Owner, TokenModel, covers, scopes},
    operation::{Launch, Operation, Registration, Target},
    world::{LaunchRequest, World},
};
use crate::{
    domain::AppStatus,
    issuer::Issued,
    service::{Bearer, Error},
};

pub(super) struct History {
    world: World,
    model: Model,
}

impl History {
    pub(super) async fn begin(world: World) -> Self {
        let mut model = Model::default();
        for (name, bits) in [("first-app", 0b11_1111), ("second-app", 0b00_1001)] {
            let ceiling = scopes(bits);
            let (app, secret) = world.create_app(name, &ceiling).await;
            model.apps.push(AppModel {
                app,
                secret,
                former_secret: None,
                ceiling,
                binds: false,
                status: AppStatus::Active,
            });
        }
        Self { world, model }
    }

    pub(super) async fn play_all(mut self, operations: Vec<Operation>) {
        for operation in operations {
            self.play(operation).await;
        }
        self.end().await;
    }

    async fn play(&mut self, operation: Operation) {
        match operation {
            Operation::LogIn => self.log_in().await,
            Operation::AppLogIn(app) => self.app_log_in(app).await,
            Operation::AppLogInWithFormerSecret(app) => self.app_log_in_with_former_secret(app).await,
            Operation::RotateSecret { app, overlap } => self.rotate_secret(app, overlap).await,
            Operation::RegisterWithNewLaunchToken { owner, launch, registration } => {
                if let Some(launch) = self.launch(owner, &launch).await {
                    self.register(launch, registration).await;
                }
            }
            Operation::Launch { owner, launch } => _ = self.launch(owner, &launch).await,
            Operation::Register { launch, registration } => {
                if let Some(launch) = chosen(launch, self.model.launch_tokens.len()) {
                    self.register(launch, registration).await;
                }
            }
            Operation::Renew(token) => {
                if let Some(index) = chosen(token, self.model.tokens.len()) {
                    self.renew(index).await;
                }
            }
            Operation::Delegate { from, to, scopes: bits, ttl } => self.delegate(from, to, scopes(bits), ttl).await,
            Operation::DelegateAndStop { from, to, scopes: bits, ceiling } => {
                self.delegate_and_stop(from, to, scopes(bits), ceiling.map(scopes)).await;
            }
            Operation::Release(token) => self.release(token).await,
            Operation::Revoke(target) => self.revoke(&target).await,
            Operation::SetCeiling { app, scopes: bits } => {
                self.set_ceiling(app.index(self.model.apps.len()), scopes(bits)).await;
            }
            Operation::SetBinding { app, binds } => self.set_binding(app.index(self.model.apps.len()), binds).await,
            Operation::Suspend(app) => self.suspend(app.index(self.model.apps.len())).await,
            Operation::Resume(app) => {
                let app = app.index(self.model.apps.len());
                let outcome = self.world.resume(&self.model.apps[app].app.app_id).await;
                assert_eq!(outcome.is_ok(), self.model.resume(app), "{outcome:?}");
            }
            Operation::Deregister(app) => {
                let app = app.index(self.model.apps.len());
                self.world.deregister(&self.model.apps[app].app.app_id).await;
                self.model.deregister(app);
            }
            Operation::Advance { milliseconds } => self.world.advance(Duration::from_millis(milliseconds)).await,
            Operation::Tidy => self.world.tidy().await,
            Operation::Restart => self.world.restart().await,
        }
        self.compare().await;
    }

    /// Compares once more after a restart, and with a follower that knows the snapshot only.
    async fn end(mut self) {
        self.world.restart().await;
        self.compare().await;
        let newcomer = self.world.newcomer().await;
        for token in &self.model.tokens {
            let verdict = newcomer.verifier.verify_without_proof(&token.text);
            assert_eq!(verdict.is_ok(), token.is_valid(self.world.now()), "newcomer: {:?}: {verdict:?}", token.claims);
        }
    }

    /// All three agree about every token.
    async fn compare(&mut self) {
        self.world.follow().await;
        let now = self.world.now();
        for token in &self.model.tokens {
            for (verifier, verdict) in [
                ("broker", self.world.verify(&token.text).map(drop)),
                ("offline", self.world.follower.verifier.verify_without_proof(&token.text).map(drop)),
            ] {
                assert_eq!(verdict.is_ok(), token.is_valid(now), "{verifier}: {:?}: {verdict:?}", token.claims);
            }
        }
    }

    async fn log_in(&mut self) {
        let issued = self.world.admin_token().await;
        let claims = self.add_issued(issued, Owner::Operator, None);
        assert_eq!(claims.subject(), &Subject::Admin);
    }

    async fn app_log_in(&mut self, app: Index) {
        let index = app.index(self.model.apps.len());
        let AppModel { app, secret, status, .. } = &self.model.apps[index];
        let outcome = self.world.app_token(app, secret).await;
        assert_eq!(outcome.is_ok(), *status == AppStatus::Active, "{outcome:?}");
        self.add_app_token(index, outcome);
    }

    async fn app_log_in_with_former_secret(&mut self, app: Index) {
        let index = app.index(self.model.apps.len());
        let AppModel { app, former_secret, status, .. } = &self.model.apps[index];
        let Some((secret, expires_at)) = former_secret else { return };
        let accepted = *status == AppStatus::Active && self.world.now() < *expires_at;
        let outcome = self.world.app_token(app, secret).await;
        assert_eq!(outcome.is_ok(), accepted, "{outcome:?}");
        self.add_app_token(index, outcome);
    }

    async fn rotate_secret(&mut self, app: Index, overlap: u64) {
        let index = app.index(self.model.apps.len());
        let app = &mut self.model.apps[index];
        let outcome = self.world.rotate_secret(&app.app.app_id, overlap).await;
        assert_eq!(outcome.is_ok(), app.status != AppStatus::Inactive, "{outcome:?}");
        if let Ok(secret) = outcome {
            let former = std::mem::replace(&mut app.secret, secret);
            app.former_secret = Some((former, self.world.now().saturating_add(Duration::from_secs(overlap))));
        }
    }

    fn add_app_token(&mut self, index: usize, outcome: Result<Issued, Error>) {
        let app_id = self.model.apps[index].app.app_id.clone();
        if let Ok(issued) = outcome {
            let claims = self.add_issued(issued, Owner::App { index, app_id: app_id.clone() }, None);
            assert_eq!(claims.subject(), &Subject::App(app_id));
        }
    }

    async fn launch(&mut self, owner: Option<Index>, launch: &Launch) -> Option<usize> {
        let owner = match owner {
            None => Owner::Operator,
            Some(app) => {
                let index = app.index(self.model.apps.len());
                Owner::App { index, app_id: self.model.apps[index].app.app_id.clone() }
            }
        };
        let &Launch { max_ttl, single_use, ttl, binds, .. } = launch;
        let scopes = scopes(launch.scopes);
        let request = LaunchRequest { scopes: scopes.clone(), max_ttl, single_use, ttl, binds };
        let (minted_in, bearer) = self.bearer_of(&owner).unzip();
        let outcome = self.world.launch_token(&owner, bearer, request).await;
        assert_eq!(outcome.is_ok(), self.model.ceiling_allows(&owner, &scopes), "{outcome:?}");
        let secret = outcome.ok()?;
        let expires_at = self.world.now().saturating_add(Duration::from_secs(ttl));
        let binds = binds || self.model.app_binds(&owner);
        let launch =
            LaunchModel { secret, scopes, max_ttl, single_use, binds, expires_at, owner, minted_in, usable: true };
        self.model.launch_tokens.push(launch);
        Some(self.model.launch_tokens.len() - 1)
    }

    /// The latest live token of the operator's or the app's own, and the first token of its session. Without one the
    /// broker itself requests it.
    fn bearer_of(&self, owner: &Owner) -> Option<(usize, Bearer)> {
        let subject = match owner {
            Owner::Operator => Subject::Admin,
            Owner::App { app_id, .. } => Subject::App(app_id.clone()),
        };
        let now = self.world.now();
        let mut tokens = self.model.tokens.iter().rev();
        tokens
            .find(|token| token.claims.sub == subject && token.is_valid(now))
            .map(|token| (token.first, self.world.verify(&token.text).unwrap()))
    }

    async fn register(&mut self, launch: usize, registration: Registration) {
        let (wanted, Registration { task, binds, .. }) = (&scopes(registration.scopes), registration);
        let token = &self.model.launch_tokens[launch];
        let allowed = token.usable
            && self.world.now() < token.expires_at
            && covers(&token.scopes, wanted)
            && self.model.ceiling_allows(&token.owner, wanted);
        let outcome = self.world.register_key(&token.secret, wanted, &task_id(task), binds).await;
        assert_eq!(outcome.is_ok(), allowed, "{outcome:?}");
        let Ok((id, key, issued)) = outcome else { return };
        let bound = binds || token.binds || self.model.app_binds(&token.owner);
        let token = &mut self.model.launch_tokens[launch];
        token.usable = !token.single_use;
        let (owner, ttl, most) = (token.owner.clone(), token.max_ttl, token.scopes.clone());
        let claims = self.add_issued(issued, owner.clone(), None);
        assert_eq!(claims.agent_id(), Some(&id));
        assert_eq!(claims.expires_at().seconds() - claims.issued_at().seconds(), ttl.min(MAX_TTL));
        assert!(covers(&most, claims.scopes()));
        assert_eq!(key_of(&claims), bound.then_some(key));
        self.model.agents.push(AgentModel { id, owner, key, bound, barred: false });
    }

    async fn renew(&mut self, index: usize) {
        let Ok(claims) = self.world.verify(&self.model.tokens[index].text) else { return };
        let token = &self.model.tokens[index];
        let allowed = match claims.subject() {
            Subject::Admin => false,
            // Its tokens end with it.
            Subject::App(_) => true,
            Subject::Agent(agent) => {
                !self.model.barred(agent)
                    && self.model.ceiling_allows(&token.owner, claims.scopes())
                    && self.model.ceilings_allow(delegators(&claims).chain([agent]), claims.scopes())
            }
        };
        let now = self.world.now().seconds().max(claims.issued_at().seconds());
        let left = self.model.renewal_expiry(index, now) > now;
        let outcome = self.world.renew(claims.clone()).await;
        assert_eq!(outcome.is_ok(), allowed && left, "{outcome:?}");
        let Ok(issued) = outcome else { return };
        self.model.tokens[index].ended = true;
        let owner = self.model.tokens[index].owner.clone();
        let renewed = self.add_issued(issued, owner, Some(Parent::Renewed(index)));
        let (old, new) = (claims.as_claim_set(), renewed.as_claim_set());
        assert_eq!(new.exp, self.model.renewal_expiry(index, new.iat));
        let (jti, cnf) = (old.jti, old.cnf.clone());
        let same = agentwrit_verify::ClaimSet { jti, cnf, iat: old.iat, nbf: old.nbf, exp: old.exp, ..new.clone() };
        assert_eq!(same, *old, "nothing else changes");
        assert_ne!(new.jti, old.jti);
        let bound = |agent: &AgentId| self.model.bound_key(agent, delegators(&claims), old.cnf.is_some());
        assert_eq!(key_of(&renewed), claims.agent_id().and_then(bound));
        assert!(old.cnf.is_none() || new.cnf == old.cnf, "a renewal loosened a binding");
    }

    async fn delegate(&mut self, from: Index, to: Index, wanted: ScopeSet, ttl: u64) {
        let Some((index, claims)) = self.presented(from) else { return };
        let Some(to) = chosen(to, self.model.agents.len()) else { return };
        let to = self.model.agents[to].id.clone();
        let token = &self.model.tokens[index];
        let allowed = claims.agent_id().is_some_and(|agent| !self.model.barred(agent))
            && covers(claims.scopes(), &wanted)
            && token.delegated_from.len() < 5
            && self.model.ceiling_allows(&token.owner, &wanted)
            && self.model.may_receive(&to, self.world.now())
            && self.model.ceilings_allow(delegators(&claims).chain(claims.agent_id()).chain([&to]), &wanted);
        let request = DelegationRequest { delegate_to: to.clone(), scope: wanted, ttl: Some(ttl) };
        let outcome = self.world.delegate(claims.clone(), request).await;
        assert_eq!(outcome.is_ok(), allowed, "{outcome:?}");
        let Ok(issued) = outcome else { return };
        let owner = token.owner.clone();
        let delegated = self.add_issued(issued, owner, Some(Parent::Delegated(index)));
        assert_eq!(delegated.agent_id(), Some(&to));
        assert!(covers(claims.scopes(), delegated.scopes()));
        assert!(delegated.expires_at() <= claims.expires_at());
        assert!(delegated.delegation_chain().len() <= 5);
        assert_eq!((delegated.task_id(), delegated.orch_id()), (claims.task_id(), claims.orch_id()));
        let is_bound = claims.sender_constraint().is_some();
        let chain = delegators(&claims).chain(claims.agent_id());
        assert_eq!(key_of(&delegated), self.model.bound_key(&to, chain, is_bound));
        assert!(!is_bound || delegated.sender_constraint().is_some(), "a delegation loosened a binding");
    }

    async fn delegate_and_stop(&mut self, from: Index, to: Index, wanted: ScopeSet, ceiling: Option<ScopeSet>) {
        let delegated = self.model.tokens.len();
        self.delegate(from, to, wanted, 60).await;
        if self.model.tokens.len() == delegated {
            return;
        }
        if let Owner::App { index, .. } = self.model.agents[to.index(self.model.agents.len())].owner {
            match ceiling {
                None => self.suspend(index).await,
                Some(ceiling) => self.set_ceiling(index, ceiling).await,
            }
        }
        self.renew(delegated).await;
    }

    async fn release(&mut self, token: Index) {
        let Some((index, claims)) = self.presented(token) else { return };
        self.world.release(claims).await.unwrap();
        self.model.tokens[index].ended = true;
    }

    async fn revoke(&mut self, target: &Target) {
        let (level, target) = match target {
            Target::Token(of) | Target::Subject { of, .. } if self.model.tokens.is_empty() => {
                _ = of;
                return;
            }
            Target::Token(of) => (Level::Token, of.get(&self.model.tokens).claims.jti.to_string()),
            Target::Subject { of, level } => (*level, of.get(&self.model.tokens).claims.sub.to_string()),
            Target::Task(task) => (Level::Task, task_id(*task)),
            Target::Unknown(level) => (*level, String::from("unknown")),
        };
        let ended_count = self.model.revoke(level, &target, self.world.now());
        let revoked = self.world.revoke(level, &target).await;
        assert_eq!(revoked.count, ended_count, "{level} {target}");
        assert!(revoked.revoked || ended_count == 0);
        assert!(!revoked.revoked || target != "unknown");
    }

    async fn suspend(&mut self, app: usize) {
        let outcome = self.world.suspend(&self.model.apps[app].app.app_id).await;
        assert_eq!(outcome.is_ok(), self.model.suspend(app), "{outcome:?}");
    }

    async fn set_ceiling(&mut self, app: usize, ceiling: ScopeSet) {
        let outcome = self.world.set_ceiling(&self.model.apps[app].app.app_id, ceiling.clone()).await;
        assert_eq!(outcome.is_ok(), self.model.apps[app].status != AppStatus::Inactive, "{outcome:?}");
        if outcome.is_ok() {
            self.model.apps[app].ceiling = ceiling;
        }
    }

    async fn set_binding(&mut self, app: usize, binds: bool) {
        let outcome = self.world.set_binding(&self.model.apps[app].app.app_id, binds).await;
        let is_looser = self.model.apps[app].binds && !binds;
        assert_eq!(outcome.is_ok(), self.model.apps[app].status != AppStatus::Inactive && !is_looser, "{outcome:?}");
        if outcome.is_ok() {
            self.model.apps[app].binds = binds;
        }
    }

    /// A token as a client presents it: the verifier lets it through, or there is nothing more to it.
    fn presented(&self, token: Index) -> Option<(usize, Bearer)> {
        let index = chosen(token, self.model.tokens.len())?;
        Some((index, self.world.verify(&self.model.tokens[index].text).ok()?))
    }

    /// Takes a new token into the model. It must be valid, and within the ceiling of its owner.
    fn add_issued(&mut self, issued: Issued, owner: Owner, parent: Option<Parent>) -> Bearer {
        let claims = self.world.verify(&issued.access_token).expect("a new token is valid");
        let set = claims.as_claim_set().clone();
        let now = self.world.now().seconds();
        assert!((now..=now + 1).contains(&set.iat), "issued at {} at {now}", set.iat);
        assert_eq!(issued.expires_in, set.exp - set.iat);
        assert!(set.exp > set.iat && set.exp - set.iat <= MAX_TTL);
        if claims.agent_id().is_some() {
            assert!(self.model.ceiling_allows(&owner, claims.scopes()));
        }
        let index = self.model.tokens.len();
        let (first, delegated_from, ttl) = match parent {
            None => (index, Vec::new(), issued.expires_in),
            Some(Parent::Renewed(old)) => {
                let old = &self.model.tokens[old];
                (old.first, old.delegated_from.clone(), old.ttl)
            }
            Some(Parent::Delegated(from)) => {
                let from = &self.model.tokens[from];
                let lineage = from.delegated_from.iter().copied().chain([from.first]).collect();
                (index, lineage, issued.expires_in)
            }
        };
        let text = issued.access_token;
        self.model.tokens.push(TokenModel { text, claims: set, owner, first, delegated_from, ttl, ended: false });
        claims
    }
}

#[derive(Clone, Copy)]
enum Parent {
    Renewed(usize),
    Delegated(usize),
}

/// Returns the key that the token is bound to.
fn key_of(claims: &Claims) -> Option<Thumbprint> {
    claims.sender_constraint().map(|constraint| constraint.jkt)
}

fn delegators(claims: &Claims) -> impl Iterator<Item = &AgentId> {
    claims.delegation_chain().iter().map(|record| &record.agent)
}

fn chosen(index: Index, among: usize) -> Option<usize> {
    (among > 0).then(|| index.index(among))
}

fn task_id(task: u8) -> String {
    format!("task-{task}")
}
