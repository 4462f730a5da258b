//! `AA_SEED_TOKENS`: tokens on standard output at the start, for development.

use std::net::{IpAddr, Ipv4Addr};

use agentwrit_protocol::LaunchTokenRequest;
use agentwrit_verify::{ScopeSet, Subject};

use super::{Error, Services};
use crate::telemetry::log;

/// Issues a launch token and an admin token and prints them, bare, as scripts expect.
pub(crate) async fn print(services: &Services) -> Result<(), Error> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let policy = LaunchTokenRequest {
        agent_name: String::from("seed"),
        allowed_scope: ScopeSet::parse(["read:data:*", "write:data:*"])
            .map_err(|error| Error::invalid("scope", error.to_string()))?,
        max_ttl: None,
        single_use: false,
        ttl: Some(3600),
        orch_id: None,
        task_id: None,
        sender_constrained: false,
    };
    let (_, launch_token) = services.launch_tokens.issue(Subject::Admin, None, policy, here).await?;
    let admin = services.logins.issue_admin_token(here).await?;
    log::print(&format!("SEED_LAUNCH_TOKEN={}", launch_token.expose()));
    log::print(&format!("SEED_ADMIN_TOKEN={}", admin.access_token));
    Ok(())
}
