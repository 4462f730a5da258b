//! End of an encounter: each token is renewed, the old one has ended; it is released, and has ended too.

use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};

use super::{
    agents::{DELEGATED, Member},
    run::Run,
    step::{CardState, NewStep, StepKind, StepStatus},
};
use demo_common::service_client::ServiceRequest;

/// Timeout for a change at the broker to reach the hospital, which takes milliseconds.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Releases every credential that is still live. A delegated one has no renewal shown: its delegator's is.
pub(super) async fn release_all(run: &mut Run<'_>) {
    for member in run.team.credentials() {
        if member.card.state != CardState::Live {
            continue;
        }
        if member.card.key != DELEGATED && run.is_watched() {
            renew(run, &member).await;
        }
        release(run, member).await;
    }
}

async fn renew(run: &mut Run<'_>, member: &Member) {
    let old = member.agent.authorization();
    let (category, name) = (member.card.category, member.card.category.name());
    match member.agent.renew().await {
        Ok(()) => {
            let mut card = member.card.clone();
            card.expires_at = member.agent.expires_at().seconds();
            run.team.update(&card);
            let title = format!("The {name} agent's token is renewed");
            let step = NewStep::new(StepKind::Renewed, StepStatus::Success, title).of(category);
            run.send(step.field("scopes", serde_json::json!(card.scopes)).card(card)).await;
            ended(run, member, &old, "The hospital rejects the old token").await;
        }
        Err(error) => {
            let title = format!("The broker does not renew the {name} agent's token: {error}");
            run.send(NewStep::new(StepKind::RenewalRefused, StepStatus::Denied, title).of(category)).await;
        }
    }
}

async fn release(run: &mut Run<'_>, member: Member) {
    let token = member.agent.authorization();
    let category = member.card.category;
    let what = if member.card.key == DELEGATED { "delegated token" } else { "token" };
    match member.agent.release().await {
        Ok(()) => {
            let card = super::step::Card { state: CardState::Released, ..run_card(run, &member) };
            run.team.update(&card);
            let title = format!("The {} agent's {what} is released", category.name());
            run.send(NewStep::new(StepKind::Released, StepStatus::Success, title).of(category).card(card)).await;
            if run.is_watched() {
                ended(run, &member, &token, "The hospital rejects the released token").await;
            }
        }
        Err(error) => {
            let title = format!("The {} agent's {what} could not be released: {error}", category.name());
            run.send(NewStep::new(StepKind::Error, StepStatus::Error, title).of(category)).await;
        }
    }
}

/// Returns the card as it is now: a renewal may have changed it.
fn run_card(run: &Run<'_>, member: &Member) -> super::step::Card {
    let all = run.team.credentials();
    let now = all.into_iter().find(|current| current.card.key == member.card.key);
    now.map_or_else(|| member.card.clone(), |current| current.card)
}

/// Shows that the hospital rejects a token, and how long that took.
pub(super) async fn ended(run: &mut Run<'_>, member: &Member, token: &HeaderValue, title: &str) -> bool {
    let category = member.card.category;
    // Every token gets 401 here once it has ended, whatever its scopes.
    let path = format!("/patients/{}/records", run.patient);
    let request = ServiceRequest::get(path);
    let started = Instant::now();
    loop {
        let status = match run.parties.hospital.send(Some(token), &request).await {
            Ok(response) => response.status,
            Err(failure) => {
                let title = format!("The hospital does not respond: {failure}");
                run.send(NewStep::new(StepKind::Error, StepStatus::Error, title).of(category)).await;
                return false;
            }
        };
        let took = started.elapsed();
        if status == StatusCode::UNAUTHORIZED || took >= PROPAGATION_TIMEOUT {
            let has_ended = status == StatusCode::UNAUTHORIZED;
            let (title, colour) = if has_ended {
                (title.to_owned(), StepStatus::Success)
            } else {
                (format!("The hospital still accepts the token: {status}"), StepStatus::Error)
            };
            let step = NewStep::new(StepKind::TokenEnded, colour, title).of(category);
            let step = step.field("status", status.as_u16());
            run.send(step.field("after", format!("{:.1} ms", took.as_secs_f64() * 1000.0))).await;
            return has_ended;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
