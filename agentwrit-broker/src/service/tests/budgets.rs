//! Budgets of one credential: session, launch token, app and address.

use super::*;
use crate::{
    audit::EventType,
    limits::budgets::{Budget, SessionBudget},
};

#[expect(clippy::needless_pass_by_value, reason = "an `unwrap_err()` is what callers have")]
fn over(budget: Budget, rejected: Error) -> u64 {
    let Error::OverBudget { budget: found, retry_after } = rejected else { panic!("{rejected:?}") };
    assert_eq!(found, budget);
    retry_after.seconds()
}

impl TestServices {
    /// Renews `times` times, each time the token that the last renewal gave.
    async fn renew_in_a_row(&self, token: &str, times: usize) -> String {
        let mut token = token.to_owned();
        for _ in 0..times {
            token = self.renew(&self.bearer(&token)).await.unwrap().access_token;
        }
        token
    }
}

#[tokio::test]
async fn limits_session_to_twenty_renewals_at_once_then_one_a_second() {
    let test = TestServices::new().await;
    let (agent, other) = (test.enrol("task", 3600).await, test.enrol("task", 3600).await);
    let token = test.renew_in_a_row(&agent.token, 20).await;
    let events = test.trail().await.len();
    let rejected = test.renew(&test.bearer(&token)).await.unwrap_err();
    assert_eq!(over(Budget::Renewals, rejected), 1);
    assert!(test.verify(&token).is_ok(), "a rejected renewal ends nothing");
    assert_eq!(test.trail().await.len(), events, "and writes nothing but a folded denial");
    test.renew_in_a_row(&other.token, 20).await;
    test.clock.advance(Duration::from_secs(1));
    let token = test.renew_in_a_row(&token, 1).await;
    over(Budget::Renewals, test.renew(&test.bearer(&token)).await.unwrap_err());
}

#[tokio::test]
async fn folds_rejected_renewals_into_one_event() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 3600).await;
    let token = test.renew_in_a_row(&agent.token, 20).await;
    for _ in 0..50 {
        test.renew(&test.bearer(&token)).await.unwrap_err();
    }
    test.services.ledger.write_all_denials().await.unwrap();
    let denied = test.trail().await.into_iter().filter(|event| event.event_type == EventType::TokenRenewalFailed);
    let details: Vec<String> = denied.map(|event| event.detail).collect();
    assert_eq!(details.len(), 1, "{details:?}");
    assert!(details[0].contains("this session renews too often") && details[0].ends_with("count=50"), "{details:?}");
}

#[tokio::test]
async fn rejected_renewal_draws_nothing_from_session_budget() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 3600).await;
    let old = test.bearer(&agent.token);
    let token = test.renew_in_a_row(&agent.token, 1).await;
    for _ in 0..100 {
        assert_eq!(test.renew(&old).await.unwrap_err(), Error::RenewalFailed);
    }
    let token = test.renew_in_a_row(&token, 19).await;
    over(Budget::Renewals, test.renew(&test.bearer(&token)).await.unwrap_err());
}

#[tokio::test]
async fn limits_session_to_hundred_delegations_at_once_then_five_a_second() {
    let test = TestServices::new().await;
    let (lead, helper) = (test.enrol("task", 3600).await, test.enrol("task", 3600).await);
    let claims = test.bearer(&lead.token);
    for _ in 0..100 {
        test.delegate(&claims, &helper, 60).await.unwrap();
    }
    assert_eq!(over(Budget::Delegations, test.delegate(&claims, &helper, 60).await.unwrap_err()), 1);
    test.delegate(&test.bearer(&helper.token), &lead, 60).await.unwrap();
    test.renew_in_a_row(&lead.token, 1).await;
    test.clock.advance(Duration::from_secs(1));
    let renewed = test.bearer(&test.renew_in_a_row(&helper.token, 1).await);
    for _ in 0..5 {
        test.delegate(&renewed, &lead, 60).await.unwrap();
    }
}

#[tokio::test]
async fn rejected_delegation_draws_nothing_from_session_budget() {
    let test = TestServices::new().await;
    let (lead, helper) = (test.enrol("task", 3600).await, test.enrol("task", 3600).await);
    let id = AgentId::parse(&lead.id.to_string().replace("/task/", "/other/")).unwrap();
    let unknown = Agent { id, token: String::new() };
    let claims = test.bearer(&lead.token);
    for _ in 0..150 {
        assert_eq!(test.delegate(&claims, &unknown, 60).await.unwrap_err(), Error::DelegateUnknown);
    }
    test.delegate(&claims, &helper, 60).await.unwrap();
}

#[tokio::test]
async fn self_delegation_draws_from_budget_of_first_session() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 3600).await;
    let first = test.bearer(&agent.token);
    let mut delegated = 0;
    'sessions: for _ in 0..100 {
        let session = test.bearer(&test.delegate(&first, &agent, 3600).await.unwrap().access_token);
        for _ in 0..100 {
            match test.delegate(&session, &agent, 3600).await {
                Ok(_) => delegated += 1,
                Err(rejected) => {
                    if matches!(rejected, Error::OverBudget { budget: Budget::DescendantDelegations, .. }) {
                        break 'sessions;
                    }
                    over(Budget::Delegations, rejected);
                }
            }
        }
    }
    assert_eq!(delegated, 500, "all that descends from one session shares a budget");
}

#[tokio::test]
async fn delegate_over_budget_leaves_half_to_its_siblings() {
    let test = TestServices::new().await;
    let (lead, greedy, modest) =
        (test.enrol("task", 3600).await, test.enrol("task", 3600).await, test.enrol("task", 3600).await);
    let root = test.bearer(&lead.token);
    let sibling = test.bearer(&test.delegate(&root, &modest, 3600).await.unwrap().access_token);
    let own = test.bearer(&test.delegate(&root, &greedy, 3600).await.unwrap().access_token);
    let mut renewed = 0;
    'sessions: for _ in 0..100 {
        let mut token = test.delegate(&own, &greedy, 3600).await.unwrap().access_token;
        for _ in 0..20 {
            match test.renew(&test.bearer(&token)).await {
                Ok(issued) => (token, renewed) = (issued.access_token, renewed + 1),
                Err(rejected) => {
                    over(Budget::DescendantRenewals, rejected);
                    break 'sessions;
                }
            }
        }
    }
    assert_eq!(renewed, 250);
    test.renew(&sibling).await.unwrap();
}

#[tokio::test]
async fn launch_token_over_budget_leaves_half_to_its_app() {
    let test = TestServices::new().await;
    let (app, _) = test.create_app().await;
    let mint = async || test.issue_launch_token(Subject::App(app.app_id.clone()), false).await.unwrap();
    let (leaked, own) = (mint().await, mint().await);
    for _ in 0..500 {
        test.register(&leaked, "task").await.unwrap();
    }
    over(Budget::Registrations, test.register(&leaked, "task").await.unwrap_err());
    test.register(&own, "task").await.unwrap();
}

#[tokio::test]
async fn registration_with_spent_nonce_draws_nothing_from_launch_token_budget() {
    let test = TestServices::new().await;
    let launch_token = test.launch_token("task", 3600, false).await;
    let again = test.registration(&launch_token, "task");
    test.services.registrations.register(again.clone(), None, CLIENT).await.unwrap();
    for _ in 0..600 {
        assert_eq!(
            test.services.registrations.register(again.clone(), None, CLIENT).await.unwrap_err(),
            Error::NonceSpent
        );
    }
    test.register(&launch_token, "task").await.unwrap();
}

#[tokio::test]
async fn session_budget_follows_configuration() {
    let test = TestServices::with_budget(Some(SessionBudget { at_once: 2, per_second: 1 })).await;
    let (agent, helper) = (test.enrol("task", 3600).await, test.enrol("task", 3600).await);
    let token = test.renew_in_a_row(&agent.token, 2).await;
    over(Budget::Renewals, test.renew(&test.bearer(&token)).await.unwrap_err());
    for _ in 0..10 {
        test.delegate(&test.bearer(&token), &helper, 60).await.unwrap();
    }
    over(Budget::Delegations, test.delegate(&test.bearer(&token), &helper, 60).await.unwrap_err());

    let test = TestServices::with_budget(None).await;
    let (agent, helper) = (test.enrol("task", 3600).await, test.enrol("task", 3600).await);
    let token = test.renew_in_a_row(&agent.token, 50).await;
    for _ in 0..150 {
        test.delegate(&test.bearer(&token), &helper, 60).await.unwrap();
    }
}

#[tokio::test]
async fn limits_app_to_five_hundred_launch_tokens_at_once_but_not_operator() {
    let test = TestServices::new().await;
    let (app, _) = test.create_app().await;
    let mint = async |creator: Subject| test.issue_launch_token(creator, true).await;
    for _ in 0..500 {
        mint(Subject::App(app.app_id.clone())).await.unwrap();
    }
    over(Budget::LaunchTokens, mint(Subject::App(app.app_id.clone())).await.unwrap_err());
    mint(Subject::Admin).await.unwrap();
    test.clock.advance(Duration::from_secs(1));
    for _ in 0..50 {
        mint(Subject::App(app.app_id.clone())).await.unwrap();
    }
    over(Budget::LaunchTokens, mint(Subject::App(app.app_id.clone())).await.unwrap_err());
}

#[tokio::test]
async fn limits_launch_token_to_five_hundred_registrations_at_once() {
    let test = TestServices::new().await;
    let launch_token = test.launch_token("task", 3600, false).await;
    for _ in 0..500 {
        test.register(&launch_token, "task").await.unwrap();
    }
    over(Budget::Registrations, test.register(&launch_token, "task").await.unwrap_err());
    test.enrol("task", 3600).await;
    test.clock.advance(Duration::from_secs(1));
    test.register(&launch_token, "task").await.unwrap();
}

#[tokio::test]
async fn limits_successful_logins_less_than_failed_ones() {
    let test = TestServices::new().await;
    let (app, secret) = test.create_app().await;
    let log_in = async |secret: &str, from: IpAddr| {
        test.services.logins.authenticate_app(from, app.client_id.clone(), Secret::new(secret.to_owned())).await
    };
    for _ in 0..10 {
        log_in(secret.expose(), CLIENT).await.unwrap();
    }
    assert!(matches!(log_in(secret.expose(), CLIENT).await, Err(Error::RateLimited { .. })));
    let elsewhere = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));
    for _ in 0..3 {
        assert_eq!(log_in("wrong", elsewhere).await.unwrap_err(), Error::BadCredentials);
    }
    assert!(matches!(log_in(secret.expose(), elsewhere).await, Err(Error::RateLimited { .. })));

    for _ in 0..100 {
        test.services.logins.authenticate_admin(CLIENT, Secret::new(ADMIN_SECRET.to_owned())).await.unwrap();
    }
    let rejected = test.services.logins.authenticate_admin(CLIENT, Secret::new(ADMIN_SECRET.to_owned())).await;
    assert!(matches!(rejected, Err(Error::RateLimited { .. })));
}

#[tokio::test]
async fn event_of_rate_limited_login_names_tried_client_id_unless_secret_shaped() {
    let test = TestServices::new().await;
    let fail = async |client_id: &str| {
        for _ in 0..5 {
            let secret = Secret::new("wrong".to_owned());
            test.services.logins.authenticate_app(CLIENT, client_id.to_owned(), secret).await.unwrap_err();
        }
    };
    let (hex, long) = ("ab".repeat(32), "long".repeat(20));
    for client_id in ["d-0123456789ab", "app-desk-0a1b2c", "x\nadmin=true", &long, &hex, ADMIN_SECRET] {
        fail(client_id).await;
    }
    test.services.ledger.write_all_denials().await.unwrap();
    let limited = test.trail().await.into_iter().filter(|event| event.event_type == EventType::AppRateLimited);
    let named: Vec<_> = limited.map(|event| (event.resource, event.detail)).collect();
    let event = |named: Option<&str>, count: u8| {
        (named.map(str::to_owned), format!("app authentication rate limited from=192.0.2.7 count={count}"))
    };
    let expected = [
        event(Some("d-0123456789ab"), 2),
        event(Some("app-desk-0a1b2c"), 2),
        event(Some("x?admin=true"), 2),
        event(Some("longlonglonglonglonglonglonglong"), 2),
        event(None, 4),
    ];
    assert_eq!(named, expected);
}
