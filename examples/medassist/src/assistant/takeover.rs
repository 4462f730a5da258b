//! Takeover: an attacker has the clinical agent's token, until the operator revokes the chain that starts with the agent.

use agentwrit_client::RevocationTarget;
use agentwrit_verify::Subject;
use demo_common::service_client::ServiceRequest;

use super::{
    agents::Member,
    cleanup::ended,
    run::Run,
    step::{CardState, NewStep, Rule, StepKind, StepStatus},
    tools::Category,
};

/// Plays the attack and its end.
pub(super) async fn play(run: &mut Run<'_>) {
    let Some(clinical) = run.team.member(Category::Clinical).cloned() else {
        return warn(run, "No clinical agent was created, so there is no token to steal").await;
    };
    let Some(admin) = run.parties.broker.admin.clone() else {
        return warn(run, "This page has no operator's secret, so it cannot revoke").await;
    };
    attack(run, &clinical).await;

    let chain = RevocationTarget::Chain(Subject::Agent(clinical.agent.id().clone()));
    let revoked = match admin.revoke(&chain, Some("takeover of the clinical agent")).await {
        Ok(revoked) => revoked,
        Err(error) => return warn(run, &format!("The broker did not revoke: {error}")).await,
    };
    let affected = |member: &Member| member.card.parent.is_some() || member.card.key == clinical.card.key;
    let affected: Vec<Member> = run.team.credentials().into_iter().filter(affected).collect();
    let title = "The operator revokes the clinical agent and all that came from it";
    let mut step = NewStep::new(StepKind::Revoked, StepStatus::Warning, title).of(Category::Clinical);
    step = step.field("level", "chain").field("target", clinical.card.agent_id.as_str());
    step = step.field("tokens revoked", revoked.count);
    for member in &affected {
        let mut card = member.card.clone();
        card.state = CardState::Revoked;
        run.team.update(&card);
        step = step.card(card);
    }
    run.send(step).await;

    for member in &affected {
        let title = match member.card.parent {
            Some(_) => "The hospital rejects the token that the clinical agent delegated",
            None => "The hospital rejects the stolen token",
        };
        ended(run, member, &member.agent.authorization(), title).await;
    }
    let (status, title) = match clinical.agent.renew().await {
        Ok(()) => (StepStatus::Error, "The broker renewed a revoked agent's token".to_owned()),
        Err(error) => (StepStatus::Success, format!("The broker refuses to renew the revoked token: {error}")),
    };
    run.send(NewStep::new(StepKind::RenewalRefused, status, title).of(Category::Clinical)).await;
}

/// Uses the stolen token: for the patient of the agent it works, for another one it never did.
async fn attack(run: &mut Run<'_>, clinical: &Member) {
    let others = run.parties.store.patients().await.unwrap_or_default();
    let other = others.iter().map(crate::store::patients::Patient::id).find(|id| *id != run.patient.as_str());
    let own = run.patient.to_string();
    for patient in [Some(own.as_str()), other].into_iter().flatten() {
        let path = format!("/patients/{patient}/records");
        let route = format!("GET {path}");
        let authorization = clinical.agent.authorization();
        let response = match run.parties.hospital.send(Some(&authorization), &ServiceRequest::get(path)).await {
            Ok(response) => response,
            Err(failure) => return warn(run, &format!("The hospital does not respond: {failure}")).await,
        };
        let (status, outcome) = if response.status.is_success() {
            (StepStatus::Warning, "works for the agent's patient")
        } else {
            (StepStatus::Denied, "opens no other patient's file")
        };
        let needed = format!("read:records:{patient}");
        let rule = Rule::new(route, needed, clinical.card.scopes.clone(), response.status);
        let step = NewStep::new(StepKind::Takeover, status, format!("The stolen token {outcome}"));
        run.send(step.of(Category::Clinical).rule(rule)).await;
    }
}

async fn warn(run: &mut Run<'_>, title: &str) {
    run.send(NewStep::new(StepKind::Takeover, StepStatus::Warning, title)).await;
}
