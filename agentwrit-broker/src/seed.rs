//! `AA_SEED_TOKENS`: for development, tokens on standard output at the start.

use std::net::{IpAddr, Ipv4Addr};

use agentwrit_verify::{ScopeSet, Subject};

use crate::{
    broker::StartError,
    service::{Services, launch_tokens::LaunchPolicy},
    telemetry::log,
};

/// Issues a launch token and an admin token and prints them, bare, as scripts expect.
pub(crate) async fn print(services: &Services) -> Result<(), StartError> {
    let failed = |cause: &dyn std::fmt::Display| StartError::Seed { cause: cause.to_string() };
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let policy = LaunchPolicy {
        agent_name: String::from("seed"),
        allowed_scope: ScopeSet::parse(["read:data:*", "write:data:*"]).map_err(|error| failed(&error))?,
        max_ttl: None,
        single_use: false,
        ttl: 3600,
        orch_id: None,
        task_id: None,
    };
    let launched = services.launch_tokens.issue(Subject::Admin, None, policy, here).await;
    let (_, launch_token) = launched.map_err(|error| failed(&error))?;
    let admin = services.logins.issue_admin_token(here).await.map_err(|error| failed(&error))?;
    log::print(&format!("SEED_LAUNCH_TOKEN={}", launch_token.expose()));
    log::print(&format!("SEED_ADMIN_TOKEN={}", admin.access_token));
    Ok(())
}
