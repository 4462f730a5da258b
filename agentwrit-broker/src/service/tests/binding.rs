//! Tokens that are bound to the key of their subject.

use agentwrit_protocol::{AppUpdateRequest, TokenType};
use agentwrit_verify::{
    ClaimSet, Clock, SenderConstraint, Thumbprint,
    issue::SigningKey as IssuerKey,
    proof::{PresentedToken, ProofVerifier, Scheme},
};

use super::*;
use crate::{config::SenderConstrained, service::used_proof::UsedProof};

/// Requirements for binding, apart from the broker's policy.
#[derive(Clone, Copy, Debug, Default)]
struct Requires {
    app: bool,
    launch_token: bool,
    agent: bool,
}

/// A registered agent with the thumbprint of its key.
struct KeyedAgent {
    agent: Agent,
    key: Thumbprint,
    token_type: Option<TokenType>,
}

impl TestServices {
    async fn with_policy(policy: SenderConstrained) -> Self {
        Self::with(|config| config.sender_constrained = policy).await
    }

    /// Restarts the broker with another policy.
    async fn change_policy(&mut self, policy: SenderConstrained) {
        self.config.sender_constrained = policy;
        self.restart_at(self.clock.now()).await;
    }

    async fn app(&self, sender_constrained: bool) -> App {
        let (name, scopes) = (AppName::parse("an-app").unwrap(), ScopeSet::parse([SCOPE]).unwrap());
        let new = NewApp { name, scopes, token_ttl: None, sender_constrained };
        self.services.apps.create(None, new, CLIENT).await.unwrap().0
    }

    async fn launch_token_of(&self, creator: Subject, sender_constrained: bool) -> Result<Secret, Error> {
        let policy = LaunchTokenRequest { sender_constrained, ..launch_policy(false) };
        Ok(self.services.launch_tokens.issue(creator, None, policy, CLIENT).await?.1)
    }

    async fn register_key(&self, launch_token: &Secret, sender_constrained: bool) -> Result<KeyedAgent, Error> {
        let registration = RegistrationRequest { sender_constrained, ..self.registration(launch_token, "task") };
        let Presented::WellFormed(Base64(public_key)) = registration.public_key else { unreachable!() };
        let (id, issued) = self.services.registrations.register(registration, None, CLIENT).await?;
        let agent = Agent { id, token: issued.access_token };
        Ok(KeyedAgent { agent, key: Thumbprint::of_ed25519(&public_key), token_type: issued.token_type })
    }

    /// Registers an agent of a new app.
    async fn register_requiring(&self, requires: Requires) -> KeyedAgent {
        let app = self.app(requires.app).await;
        let launch_token = self.launch_token_of(Subject::App(app.app_id), requires.launch_token).await.unwrap();
        self.register_key(&launch_token, requires.agent).await.unwrap()
    }

    /// The bearer of a token whose client proved its key to TLS, if it is bound to one.
    fn bearer_with_key(&self, token: &str) -> Bearer {
        let Some(key) = self.bound_key(token) else { return self.bearer(token) };
        let proofs = ProofVerifier::builder().without_external_url().build();
        let presented = PresentedToken::new(Scheme::Dpop, token, "POST", "/").client_key(key);
        self.services.verifier.verify_presented_token(&presented, &proofs).unwrap().into()
    }

    fn claims(&self, token: &str) -> ClaimSet {
        self.services.verifier.verify_without_proof(token).unwrap()
    }

    fn bound_key(&self, token: &str) -> Option<Thumbprint> {
        self.claims(token).cnf.map(|SenderConstraint { jkt }| jkt)
    }

    async fn set_binding(&self, app: &App, sender_constrained: bool) {
        self.services.apps.update(None, app.app_id.clone(), binding_change(sender_constrained), CLIENT).await.unwrap();
    }
}

fn binding_change(sender_constrained: bool) -> AppUpdateRequest {
    AppUpdateRequest { sender_constrained: Some(sender_constrained), ..AppUpdateRequest::default() }
}

#[tokio::test]
async fn binds_first_token_when_policy_app_launch_token_or_agent_requires_it() {
    use SenderConstrained::{Allowed, Required};
    let nothing = Requires::default();
    for (policy, requires, bound) in [
        (Allowed, nothing, false),
        (Allowed, Requires { app: true, ..nothing }, true),
        (Allowed, Requires { launch_token: true, ..nothing }, true),
        (Allowed, Requires { agent: true, ..nothing }, true),
        (Required, nothing, true),
        (Required, Requires { app: true, launch_token: true, agent: true }, true),
    ] {
        let test = TestServices::with_policy(policy).await;
        let registered = test.register_requiring(requires).await;
        let token = &registered.agent.token;
        assert_eq!(test.bound_key(token), bound.then_some(registered.key), "{policy:?} {requires:?}");
        assert_eq!(registered.token_type, bound.then_some(TokenType::Dpop), "{policy:?} {requires:?}");
        assert_eq!(test.verify(token).is_ok(), !bound, "{policy:?} {requires:?}");
    }
}

#[tokio::test]
async fn tokens_of_operators_and_apps_are_bearer_tokens_when_binding_is_required() {
    let test = TestServices::with_policy(SenderConstrained::Required).await;
    let operator = test.services.logins.issue_admin_token(CLIENT).await.unwrap();
    assert_eq!((test.verify(&operator.access_token).is_ok(), operator.token_type), (true, None));
    let (app, secret) = test.create_app().await;
    let issued = test.services.logins.authenticate_app(CLIENT, app.client_id, secret).await.unwrap();
    assert_eq!((test.bound_key(&issued.access_token), issued.token_type), (None, None));
    let renewed = test.renew(&test.bearer(&issued.access_token)).await.unwrap();
    assert_eq!((test.bound_key(&renewed.access_token), renewed.token_type), (None, None));
}

#[tokio::test]
async fn rejects_requests_for_binding_when_it_is_off_and_consumes_nothing() {
    let test = TestServices::with_policy(SenderConstrained::Off).await;
    assert_eq!(test.launch_token_of(Subject::Admin, true).await.unwrap_err(), Error::BindingOff);
    let (name, scopes) = (AppName::parse("an-app").unwrap(), ScopeSet::parse([SCOPE]).unwrap());
    let new = NewApp { name, scopes, token_ttl: None, sender_constrained: true };
    assert_eq!(test.services.apps.create(None, new, CLIENT).await.unwrap_err(), Error::BindingOff);
    let (app, _) = test.create_app().await;
    let changed = test.services.apps.update(None, app.app_id.clone(), binding_change(true), CLIENT).await;
    assert_eq!(changed.unwrap_err(), Error::BindingOff);

    let launch_token = test.issue_launch_token(Subject::Admin, true).await.unwrap();
    assert_eq!(test.register_key(&launch_token, true).await.err(), Some(Error::BindingOff));
    let registered = test.register_key(&launch_token, false).await.unwrap();
    assert_eq!(test.bound_key(&registered.agent.token), None);
}

#[tokio::test]
async fn what_is_bound_stays_bound_when_policy_becomes_off() {
    let mut test = TestServices::with_policy(SenderConstrained::Allowed).await;
    let app = test.app(true).await;
    let by_app = test.launch_token_of(Subject::App(app.app_id.clone()), false).await.unwrap();
    let tightened = test.launch_token_of(Subject::Admin, true).await.unwrap();
    let delegate = test.register_key(&tightened, false).await.unwrap();
    let open = test.launch_token_of(Subject::Admin, false).await.unwrap();
    let delegator = test.register_key(&open, false).await.unwrap();
    test.change_policy(SenderConstrained::Off).await;

    for launch_token in [&by_app, &tightened] {
        let registered = test.register_key(launch_token, false).await.unwrap();
        assert_eq!(test.bound_key(&registered.agent.token), Some(registered.key));
    }
    let delegated = test.delegate(&test.bearer(&delegator.agent.token), &delegate.agent, 60).await.unwrap();
    assert_eq!(test.bound_key(&delegated.access_token), Some(delegate.key));
}

#[tokio::test]
async fn rejects_change_that_loosens_binding_of_app_and_changes_nothing() {
    let test = TestServices::new().await;
    let app = test.app(true).await;
    let loosened = AppUpdateRequest { token_ttl: Some(60), ..binding_change(false) };
    let error = test.services.apps.update(None, app.app_id.clone(), loosened, CLIENT).await.unwrap_err();
    assert!(error.to_string().contains("cannot give that up"), "{error}");
    assert_eq!(test.services.apps.find(app.app_id.clone()).await.unwrap(), app);
    let launch_token = test.launch_token_of(Subject::App(app.app_id.clone()), false).await.unwrap();
    let registered = test.register_key(&launch_token, false).await.unwrap();
    assert_eq!(test.bound_key(&registered.agent.token), Some(registered.key));
    // A request that changes nothing loosens nothing.
    test.set_binding(&app, true).await;
    let (name, scopes) = (AppName::parse("another-app").unwrap(), ScopeSet::parse([SCOPE]).unwrap());
    let new = NewApp { name, scopes, token_ttl: None, sender_constrained: false };
    let (unbound, _) = test.services.apps.create(None, new, CLIENT).await.unwrap();
    test.set_binding(&unbound, false).await;
}

#[tokio::test]
async fn app_binds_registrations_renewals_and_delegations_from_its_change_on() {
    let test = TestServices::new().await;
    let app = test.app(false).await;
    let launch_token = test.launch_token_of(Subject::App(app.app_id.clone()), false).await.unwrap();
    let first = test.register_key(&launch_token, false).await.unwrap();
    let outsider = test.register_key(&test.launch_token_of(Subject::Admin, false).await.unwrap(), false).await.unwrap();
    test.set_binding(&app, true).await;

    // An agent that the operator registered is bound where a delegator's app requires it.
    let delegated = test.delegate(&test.bearer(&first.agent.token), &outsider.agent, 60).await.unwrap();
    assert_eq!(test.bound_key(&delegated.access_token), Some(outsider.key));
    assert_eq!(delegated.token_type, Some(TokenType::Dpop));
    let renewed = test.renew(&test.bearer(&first.agent.token)).await.unwrap();
    assert_eq!((test.bound_key(&renewed.access_token), renewed.token_type), (Some(first.key), Some(TokenType::Dpop)));
    let later = test.register_key(&launch_token, false).await.unwrap();
    assert_eq!(test.bound_key(&later.agent.token), Some(later.key));
    // The outsider's own token is not the app's.
    let renewed = test.renew(&test.bearer(&outsider.agent.token)).await.unwrap();
    assert_eq!(test.bound_key(&renewed.access_token), None);
}

#[tokio::test]
async fn binds_delegated_token_to_key_of_delegate_that_registered_as_bound() {
    let test = TestServices::new().await;
    let launch_token = test.launch_token_of(Subject::Admin, false).await.unwrap();
    let delegator = test.register_key(&launch_token, false).await.unwrap();
    let delegate = test.register_key(&launch_token, true).await.unwrap();
    let delegated = test.delegate(&test.bearer(&delegator.agent.token), &delegate.agent, 60).await.unwrap();
    assert_eq!(test.bound_key(&delegated.access_token), Some(delegate.key));
    assert_ne!(delegate.key, delegator.key);
    assert!(test.verify(&delegator.agent.token).is_ok(), "the delegator's own token stays as it is");
}

#[tokio::test]
async fn delegate_of_bound_delegator_is_bound_at_each_hop_and_after_renewal() {
    let mut test = TestServices::new().await;
    let launch_token = test.launch_token_of(Subject::Admin, false).await.unwrap();
    let root = test.register_key(&launch_token, true).await.unwrap();
    let mut token = root.agent.token.clone();
    for _ in 0..4 {
        let delegate = test.register_key(&launch_token, false).await.unwrap();
        assert_eq!(test.bound_key(&delegate.agent.token), None);
        let delegated = test.delegate(&test.bearer_with_key(&token), &delegate.agent, 60).await.unwrap();
        assert_eq!(test.bound_key(&delegated.access_token), Some(delegate.key));
        test.change_policy(SenderConstrained::Off).await;
        let renewed = test.renew(&test.bearer_with_key(&delegated.access_token)).await.unwrap();
        assert_eq!(test.bound_key(&renewed.access_token), Some(delegate.key));
        test.change_policy(SenderConstrained::Allowed).await;
        token = renewed.access_token;
    }
}

#[tokio::test]
async fn rejects_claims_without_binding_of_token_that_was_issued_as_bound() {
    let test = TestServices::new().await;
    let launch_token = test.launch_token_of(Subject::Admin, false).await.unwrap();
    let agent = test.register_key(&launch_token, true).await.unwrap();
    // By the thief of the signing key.
    let stolen = std::fs::read_to_string(&test.config.signing_key_path).unwrap();
    let stolen = IssuerKey::from_pkcs8_pem(stolen.as_bytes()).unwrap();
    let forged = stolen.sign_token(&ClaimSet { cnf: None, ..test.claims(&agent.agent.token) });
    let bearer = test.bearer(&forged);
    assert_eq!(test.renew(&bearer).await.unwrap_err(), Error::RenewalFailed);
    let delegate = test.register_key(&launch_token, false).await.unwrap();
    assert_eq!(test.delegate(&bearer, &delegate.agent, 60).await.unwrap_err(), Error::TokenEnded);
    assert!(test.renew(&test.bearer_with_key(&agent.agent.token)).await.is_ok());
}

#[tokio::test]
async fn rejects_claims_with_other_key_or_wider_scope_than_registered() {
    let test = TestServices::new().await;
    let launch_token = test.launch_token_of(Subject::Admin, false).await.unwrap();
    let [bound, unbound] =
        [test.register_key(&launch_token, true).await.unwrap(), test.register_key(&launch_token, false).await.unwrap()];
    let delegate = test.register_key(&launch_token, false).await.unwrap();
    // By the thief of the signing key.
    let stolen = std::fs::read_to_string(&test.config.signing_key_path).unwrap();
    let stolen = IssuerKey::from_pkcs8_pem(stolen.as_bytes()).unwrap();
    let cnf = Some(SenderConstraint { jkt: Thumbprint::of_ed25519(&[7; 32]) });
    let wider = ScopeSet::parse([SCOPE, "write:data:*"]).unwrap();
    for claims in [
        ClaimSet { cnf, ..test.claims(&bound.agent.token) },
        ClaimSet { scope: wider, ..test.claims(&unbound.agent.token) },
    ] {
        let bearer = test.bearer_with_key(&stolen.sign_token(&claims));
        assert_eq!(test.delegate(&bearer, &delegate.agent, 60).await.unwrap_err(), Error::TokenEnded, "{claims:?}");
        assert_eq!(test.renew(&bearer).await.unwrap_err(), Error::RenewalFailed, "{claims:?}");
        test.services.tokens.release(bearer, CLIENT).await.unwrap();
    }
    for agent in [&bound, &unbound] {
        assert!(test.renew(&test.bearer_with_key(&agent.agent.token)).await.is_ok(), "its own token was not ended");
    }
}

#[tokio::test]
async fn delegation_uses_proof_once_also_after_restart() {
    let mut test = TestServices::new().await;
    let launch_token = test.launch_token_of(Subject::Admin, false).await.unwrap();
    let delegator = test.register_key(&launch_token, true).await.unwrap();
    let delegate = test.register_key(&launch_token, true).await.unwrap();
    let id = AgentId::parse("spiffe://agentwrit.local/agent/orch/task/0000000000000000").unwrap();
    let unknown = Agent { id, token: String::new() };
    let [first, second] = ["first", "second"].map(|proof| Some(UsedProof::new(proof, test.clock.now())));
    let bearer = |test: &TestServices, proof| test.bearer_with_key(&delegator.agent.token).with_proof(proof);
    // A rejected delegation has no effect, and records nothing.
    assert_eq!(test.delegate(&bearer(&test, first), &unknown, 60).await.unwrap_err(), Error::DelegateUnknown);
    test.delegate(&bearer(&test, first), &delegate.agent, 60).await.unwrap();
    test.restart_at(test.clock.now()).await;
    assert_eq!(test.delegate(&bearer(&test, first), &delegate.agent, 60).await.unwrap_err(), Error::ProofReplayed);
    test.delegate(&bearer(&test, second), &delegate.agent, 60).await.unwrap();
}

#[tokio::test]
async fn audit_names_key_of_bound_token() {
    let test = TestServices::new().await;
    let launch_token = test.launch_token_of(Subject::Admin, false).await.unwrap();
    let delegator = test.register_key(&launch_token, false).await.unwrap();
    let delegate = test.register_key(&launch_token, true).await.unwrap();
    test.delegate(&test.bearer(&delegator.agent.token), &delegate.agent, 60).await.unwrap();
    let jkt = format!(" jkt={}", delegate.key);
    let trail = test.trail().await;
    let named: Vec<_> = trail.iter().filter(|event| event.detail.contains(&jkt)).collect();
    let types: Vec<_> = named.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["token_issued", "delegation_created"]);
    assert!(!trail.iter().any(|event| event.detail.contains(&delegator.key.to_string())));
}
