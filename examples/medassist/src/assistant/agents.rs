//! Agents of an encounter, created on demand.

use agentwrit_client::{Agent, DelegatedToken, Validation};
use serde_json::json;

use super::{
    run::{Ended, Run},
    step::{Card, CardState, NewStep, StepKind, StepStatus},
    tools::Category,
};
use crate::Failure;

/// Key of the card of a delegated token.
pub(super) const DELEGATED: &str = "delegated";

/// Agents by category, and the delegated token of the prescription agent.
#[derive(Debug, Default)]
pub(super) struct Team {
    members: Vec<Member>,
    /// The prescription agent with its delegated token.
    delegated: Option<Member>,
}

/// Agent with a card.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) agent: Agent,
    pub(super) card: Card,
}

impl Team {
    pub(super) fn member(&self, category: Category) -> Option<&Member> {
        self.members.iter().find(|member| member.card.category == category)
    }

    pub(super) fn delegated(&self) -> Option<&Member> {
        self.delegated.as_ref()
    }

    pub(super) fn created(&self) -> usize {
        self.members.len()
    }

    /// Returns all credentials, the delegated one first: it ends with its delegator.
    pub(super) fn credentials(&self) -> Vec<Member> {
        self.delegated.iter().chain(&self.members).cloned().collect()
    }

    /// Replaces a card after its credential has changed.
    pub(super) fn update(&mut self, card: &Card) {
        let mut all = self.delegated.iter_mut().chain(&mut self.members);
        if let Some(member) = all.find(|member| member.card.key == card.key) {
            member.card = card.clone();
        }
    }

    pub(super) fn into_ended(self) -> Ended {
        let mut ended = Ended::default();
        for Member { agent, card } in self.delegated.into_iter().chain(self.members) {
            match card.state {
                CardState::Live => ended.live.push((card.key, agent)),
                CardState::Released | CardState::Revoked | CardState::Expired => {
                    ended.states.push((card.key, card.state));
                }
            }
        }
        ended
    }
}

/// Returns the agent of a category. Creates and validates it on the first call.
pub(super) async fn member(run: &mut Run<'_>, category: Category, reason: &str) -> Result<Member, Failure> {
    if let Some(member) = run.team.member(category) {
        return Ok(member.clone());
    }
    let scopes = category.scopes(&run.patient);
    let task = format!("{}-{}-{}", category.name(), run.patient, run.unique);
    let request = run.parties.broker.app.agent("medassist", &task).scope(&scopes)?.max_ttl(run.ttl);
    let agent = request.create().await?;
    let card = Card::new(category.name(), category, run.patient.as_str(), &agent);
    let title = format!("Agent for {} tools created", category.name());
    let step = NewStep::new(StepKind::AgentCreated, StepStatus::Success, title).of(category);
    let step = step.field("agent", agent.id().as_str()).field("task", task).field("scopes", json!(scopes));
    let step = step.field("lifetime", format!("{} s", run.ttl.as_secs())).field("created for", reason);
    run.send(step.card(card.clone())).await;
    let mut member = Member { agent, card };
    run.team.members.push(member.clone());
    validate(run, &mut member).await?;
    Ok(member)
}

/// Has the clinical agent delegate a scope to the prescription agent. `None` when the broker refuses.
pub(super) async fn delegate(run: &mut Run<'_>, to: &Member, scope: &str) -> Result<Option<Member>, Failure> {
    let from = member(run, Category::Clinical, "it holds the scope to prescribe, and delegates it").await?;
    let asked = from.agent.delegate(to.agent.id(), [scope], run.ttl).await;
    let delegated = match asked {
        Ok(delegated) => delegated,
        Err(error) if error.status() == Some(403) => {
            let detail = error.problem().map_or_else(|| error.to_string(), |problem| problem.detail.clone());
            let title = "The broker refuses the delegation: the clinical agent lacks the scope itself";
            let step = NewStep::new(StepKind::DelegationRefused, StepStatus::Denied, title).of(Category::Clinical);
            let step = step.field("scope", scope).field("scopes held", json!(from.card.scopes)).field("broker", detail);
            run.send(step).await;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let agent = to.agent.accept(delegated.token().clone())?;
    let mut card = Card::new(DELEGATED, Category::Prescription, run.patient.as_str(), &agent);
    card.parent = Some(Category::Clinical.name());
    let title = "The clinical agent delegates the scope to the prescription agent";
    let step = NewStep::new(StepKind::Delegated, StepStatus::Success, title).of(Category::Clinical);
    let step = step.field("scope", scope).field("from", from.card.agent_id).field("to", card.agent_id.as_str());
    run.send(step.field("chain", chain(&delegated)).card(card.clone())).await;
    let mut member = Member { agent, card };
    run.team.delegated = Some(member.clone());
    validate(run, &mut member).await?;
    Ok(Some(member))
}

fn chain(delegated: &DelegatedToken) -> serde_json::Value {
    let hops = delegated.chain().iter().map(|record| format!("{} → {}", record.agent, record.delegate));
    json!(hops.collect::<Vec<_>>())
}

/// Asks the broker about the token, and completes the card with its id.
pub(super) async fn validate(run: &mut Run<'_>, member: &mut Member) -> Result<(), Failure> {
    let validation = run.parties.broker.app.client().validate(member.agent.token().expose()).await?;
    let category = member.card.category;
    let (status, title) = if validation.is_valid() {
        (StepStatus::Success, "The broker validates the token")
    } else {
        (StepStatus::Error, "The broker does not accept the new token")
    };
    let mut step = NewStep::new(StepKind::TokenValidated, status, title);
    if let Validation::Valid(claims) = &validation {
        member.card.token_id = Some(claims.jti.to_string());
        step = step.field("subject", claims.sub.to_string()).field("token id", claims.jti.to_string());
    }
    let step = step.field("scopes", json!(member.card.scopes));
    run.team.update(&member.card);
    run.send(step.of(category).card(member.card.clone())).await;
    Ok(())
}
