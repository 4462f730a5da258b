//! Budgets: bounds on what the broker writes for one credential.
//!
//! 1. Everything that is written for a caller other than the operator (a feed entry, an audit event, a row) is bounded:
//!    a session's renewals and delegations, registrations by one launch token or trust rule, launch tokens and
//!    registrations of one app, successful logins. A release ends a token that one of these issued, once; denials fold in the trail; reading
//!    and `validate` write nothing.
//! 2. A budget is drawn on by the holder of a verified credential only, and only by what succeeds: a request with a token
//!    that is not accepted costs no session anything. It is checked before the transaction, so that a request over budget
//!    neither waits for the writer nor leaves anything durable, and drawn on in it, so that it is exact. What a transaction
//!    drew is given back if it fails, or its commit does: see [`Spent`].
//! 3. Delegation makes sessions, so what descends from one session shares further budgets: an agent that delegates to
//!    itself gains nothing. What descends from a delegated session shares half of the budget of the one above it, and an
//!    app may register twice as much as one launch token: no delegate, and no holder of a launch token, uses up what
//!    others depend on.
//! 4. Memory is fixed. When its place in the [`RateTable`] is taken, the session closest to a full budget is dropped,
//!    and begins anew with a full one: no session is rejected because of others.
//! 5. Budgets are kept in memory only: a restart fills them.

use std::{fmt, net::IpAddr, sync::Arc, time::Instant};

use agentwrit_verify::{AppId, Claims, Clock, Subject, TokenId};

use crate::{
    domain::{LaunchToken, LaunchTokenId, TrustRule, TrustRuleId},
    limits::rate_limit::{AddressKey, Rate, RateTable, RetryAfter, address_key},
    telemetry::metrics::Metrics,
};

/// Renewals of a session: the value of `AA_SESSION_BUDGET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionBudget {
    /// Renewals at once.
    pub at_once: u32,
    /// Renewals a second after that.
    pub per_second: u32,
}

impl SessionBudget {
    /// Delegations for each renewal.
    const DELEGATIONS: u32 = 5;

    fn renewals(self) -> Rate {
        Rate::per_second(self.per_second).burst(self.at_once)
    }

    fn delegations(self) -> Rate {
        Rate::per_second(self.per_second.saturating_mul(Self::DELEGATIONS))
            .burst(self.at_once.saturating_mul(Self::DELEGATIONS))
    }
}

/// Kind of operation that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Budget {
    /// Of one session.
    Renewals,
    /// Of one session.
    Delegations,
    /// Of all sessions that were delegated from one, directly or not; less the deeper that one is.
    DescendantRenewals,
    /// Of all sessions that were delegated from one, directly or not; less the deeper that one is.
    DescendantDelegations,
    /// By one launch token that is not for single use.
    Registrations,
    /// By one trust rule.
    RuleRegistrations,
    /// By all launch tokens and trust rules of one app.
    AppRegistrations,
    /// Of one app.
    LaunchTokens,
    /// Of one app from one address.
    AppLogins,
    /// Of one app from all addresses.
    AppLoginsOverall,
    /// From one address.
    AdminLogins,
}

impl Budget {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Renewals => "renewals",
            Self::Delegations => "delegations",
            Self::DescendantRenewals => "descendant_renewals",
            Self::DescendantDelegations => "descendant_delegations",
            Self::Registrations => "registrations",
            Self::RuleRegistrations => "rule_registrations",
            Self::AppRegistrations => "app_registrations",
            Self::LaunchTokens => "launch_tokens",
            Self::AppLogins | Self::AppLoginsOverall => "app_logins",
            Self::AdminLogins => "admin_logins",
        }
    }
}

/// Error: a credential has used up its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetExceeded {
    pub(crate) budget: Budget,
    pub(crate) retry_after: RetryAfter,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Renewals => "this session renews too often",
            Self::Delegations => "this session delegates too often",
            Self::DescendantRenewals => "the sessions delegated from one session renew too often",
            Self::DescendantDelegations => "the sessions delegated from one session delegate too often",
            Self::Registrations => "this launch token registers too often",
            Self::RuleRegistrations => "this trust rule registers too often",
            Self::AppRegistrations => "this app's launch tokens and trust rules register too often",
            Self::LaunchTokens => "this app asks for launch tokens too often",
            Self::AppLogins | Self::AppLoginsOverall => "this app logs in too often",
            Self::AdminLogins => "the operator logs in too often from this address",
        })
    }
}

/// Budgets of all credentials.
#[derive(Debug)]
pub(crate) struct Budgets {
    session: Option<SessionBudget>,
    table: RateTable,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Budgets {
    /// Keeps only the budgets of logins when there is none for sessions.
    pub(crate) fn new(session: Option<SessionBudget>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { session, table: RateTable::default(), clock, metrics }
    }

    /// Checks that the budgets allow `spending`: before the transaction, which a request over budget must not reach.
    pub(crate) fn check(&self, spending: &Spending) -> Result<(), BudgetExceeded> {
        self.draw_on(spending, |table, rate, key, now| table.peek(rate, key, now))
    }

    /// Draws `spending` from all of its budgets or from none: once nothing else can reject the request.
    pub(crate) fn spend(self: &Arc<Self>, spending: Spending) -> Result<Spent, BudgetExceeded> {
        self.check(&spending)?;
        self.draw_on(&spending, |table, rate, key, now| table.check(rate, key, now))?;
        Ok(Spent { budgets: Arc::clone(self), spending })
    }

    fn give_back(&self, spending: &Spending) {
        for key in &spending.0 {
            if let Some(rate) = self.rate_of(key.0, &key.1) {
                self.table.give_back(rate, key);
            }
        }
    }

    fn draw_on(
        &self,
        spending: &Spending,
        draw: impl Fn(&RateTable, Rate, &(Budget, Owner), Instant) -> Result<(), RetryAfter>,
    ) -> Result<(), BudgetExceeded> {
        let now = self.clock.monotonic();
        for key in &spending.0 {
            let budget = key.0;
            let Some(rate) = self.rate_of(budget, &key.1) else { continue };
            draw(&self.table, rate, key, now).map_err(|retry_after| {
                self.metrics.rate_limited(budget.as_str());
                BudgetExceeded { budget, retry_after }
            })?;
        }
        Ok(())
    }

    /// Rate for an owner; `None` for no limit.
    fn rate_of(&self, budget: Budget, owner: &Owner) -> Option<Rate> {
        let rate = self.rate(budget)?;
        Some(match owner {
            Owner::Descendants { depth, .. } => (0..*depth).fold(rate, |rate, _| rate.halved()),
            Owner::Session(_)
            | Owner::LaunchToken(_)
            | Owner::Rule(_)
            | Owner::App(_)
            | Owner::AppFrom(..)
            | Owner::Address(_) => rate,
        })
    }

    /// Rate for an operation; `None` for no limit.
    fn rate(&self, budget: Budget) -> Option<Rate> {
        let session = self.session;
        match budget {
            Budget::Renewals => session.map(SessionBudget::renewals),
            Budget::Delegations => session.map(SessionBudget::delegations),
            Budget::DescendantRenewals
            | Budget::DescendantDelegations
            | Budget::Registrations
            | Budget::RuleRegistrations
            | Budget::LaunchTokens => session.map(|_| Rate::per_second(50).burst(500)),
            Budget::AppRegistrations => session.map(|_| Rate::per_second(100).burst(1000)),
            Budget::AppLogins => Some(Rate::per_minute(30).burst(10)),
            Budget::AppLoginsOverall => Some(Rate::per_second(5).burst(100)),
            Budget::AdminLogins => Some(Rate::per_second(20).burst(100)),
        }
    }
}

/// Owner of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Session(TokenId),
    /// Sessions delegated from one at that depth of a chain, 0 for one that was not delegated.
    Descendants {
        sid: TokenId,
        depth: usize,
    },
    LaunchToken(LaunchTokenId),
    Rule(TrustRuleId),
    App(AppId),
    AppFrom(AppId, AddressKey),
    Address(AddressKey),
}

/// Budgets that one operation draws on.
#[derive(Clone, Debug)]
pub(crate) struct Spending(Vec<(Budget, Owner)>);

impl Spending {
    /// A renewal of a verified token. The operator's are rejected anyway.
    pub(crate) fn renewal(claims: &Claims) -> Self {
        let own =
            (*claims.subject() != Subject::Admin).then_some((Budget::Renewals, Owner::Session(claims.session_id())));
        Self(own.into_iter().chain(shared_by_descendants(Budget::DescendantRenewals, claims)).collect())
    }

    /// A delegation.
    pub(crate) fn delegation(delegator: &Claims) -> Self {
        let own = (Budget::Delegations, Owner::Session(delegator.session_id()));
        Self([own].into_iter().chain(shared_by_descendants(Budget::DescendantDelegations, delegator)).collect())
    }

    /// A registration. One launch token for single use registers once.
    pub(crate) fn registration(launch_token: &LaunchToken) -> Self {
        let own = (!launch_token.single_use).then_some((Budget::Registrations, Owner::LaunchToken(launch_token.id)));
        let shared = launch_token.app_id.clone().map(|app| (Budget::AppRegistrations, Owner::App(app)));
        Self(own.into_iter().chain(shared).collect())
    }

    /// A registration with an assertion.
    pub(crate) fn attested_registration(rule: &TrustRule) -> Self {
        let own = (Budget::RuleRegistrations, Owner::Rule(rule.id.clone()));
        Self(vec![own, (Budget::AppRegistrations, Owner::App(rule.app_id.clone()))])
    }

    /// A launch token: the operator's are not counted.
    pub(crate) fn launch_token(creator: &Subject) -> Self {
        Self(match creator {
            Subject::App(app) => vec![(Budget::LaunchTokens, Owner::App(app.clone()))],
            Subject::Admin | Subject::Agent(_) => Vec::new(),
        })
    }

    /// A login with an app's right secret.
    pub(crate) fn app_login(app: &AppId, client: IpAddr) -> Self {
        let from_here = (Budget::AppLogins, Owner::AppFrom(app.clone(), address_key(client)));
        Self(vec![from_here, (Budget::AppLoginsOverall, Owner::App(app.clone()))])
    }

    /// A login with the operator's secret.
    pub(crate) fn admin_login(client: IpAddr) -> Self {
        Self(vec![(Budget::AdminLogins, Owner::Address(address_key(client)))])
    }
}

/// Amount that a transaction has drawn: given back when this is dropped, unless it is [kept](Self::keep) after the commit.
#[derive(Debug)]
#[must_use = "dropped, it is given back"]
pub(crate) struct Spent {
    budgets: Arc<Budgets>,
    spending: Spending,
}

impl Spent {
    pub(crate) fn keep(mut self) {
        self.spending.0.clear();
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        self.budgets.give_back(&self.spending);
    }
}

/// Budgets of the sessions that this one was delegated from, directly or not.
fn shared_by_descendants(budget: Budget, claims: &Claims) -> impl Iterator<Item = (Budget, Owner)> {
    let chain = claims.delegation_chain().iter().enumerate();
    chain.map(move |(depth, record)| (budget, Owner::Descendants { sid: record.sid, depth }))
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::SystemClock;

    use super::*;

    fn budgets(session: Option<SessionBudget>) -> Budgets {
        Budgets::new(session, Arc::new(SystemClock), Arc::new(Metrics::new()))
    }

    #[test]
    fn session_budget_of_20_renewals_gives_100_delegations_and_scales_with_setting() {
        let of = |at_once, per_second| budgets(Some(SessionBudget { at_once, per_second }));
        let usual = of(20, 1);
        assert_eq!(usual.rate(Budget::Renewals), Some(Rate::per_second(1).burst(20)));
        assert_eq!(usual.rate(Budget::Delegations), Some(Rate::per_second(5).burst(100)));
        assert_eq!(usual.rate(Budget::Registrations), Some(Rate::per_second(50).burst(500)));
        let wider = of(40, 3);
        assert_eq!(wider.rate(Budget::Renewals), Some(Rate::per_second(3).burst(40)));
        assert_eq!(wider.rate(Budget::Delegations), Some(Rate::per_second(15).burst(200)));
    }

    #[test]
    fn limits_logins_without_session_budget() {
        let budgets = budgets(None);
        for budget in [
            Budget::Renewals,
            Budget::Delegations,
            Budget::DescendantRenewals,
            Budget::DescendantDelegations,
            Budget::Registrations,
            Budget::RuleRegistrations,
            Budget::AppRegistrations,
            Budget::LaunchTokens,
        ] {
            assert_eq!(budgets.rate(budget), None, "{budget:?}");
        }
        for budget in [Budget::AppLogins, Budget::AppLoginsOverall, Budget::AdminLogins] {
            assert!(budgets.rate(budget).is_some(), "{budget:?}");
        }
    }
}
