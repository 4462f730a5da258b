//! Claims of a token as text.

use std::io::{self, Write};

use agentwrit_verify::{ClaimSet, DelegationRecord, UnixTime, audit::text::printable};

use crate::{format, output};

/// Writes one claim per line, and the delegation chain as a tree.
pub(super) fn print(out: &mut dyn Write, claims: &ClaimSet, now: UnixTime) -> io::Result<()> {
    let time = |seconds| format::time(UnixTime::from_seconds(seconds), now);
    let expiry = if claims.exp > now.seconds() { "expires" } else { "expired" };
    let mut fields = vec![("subject", claims.sub.to_string())];
    fields.extend(claims.orch_id.as_ref().map(|orch_id| ("orchestration", orch_id.to_string())));
    fields.extend(claims.task_id.as_ref().map(|task_id| ("task", task_id.to_string())));
    fields.push(("scopes", format::scopes(&claims.scope)));
    fields.push(("issuer", claims.iss.clone()));
    if !claims.aud.is_empty() {
        fields.push(("audience", claims.aud.join(" ")));
    }
    fields.push(("issued", time(claims.iat)));
    if claims.nbf != claims.iat {
        fields.push(("begins", time(claims.nbf)));
    }
    fields.push((expiry, time(claims.exp)));
    fields.push(("jti", claims.jti.to_string()));
    fields.push(("session", claims.sid.to_string()));
    fields.extend(claims.cnf.as_ref().map(|constraint| ("bound to key", constraint.jkt.to_string())));
    output::fields(out, &fields)?;
    print_chain(out, claims)
}

fn print_chain(out: &mut dyn Write, claims: &ClaimSet) -> io::Result<()> {
    let Some(root) = claims.delegation_chain.first() else { return Ok(()) };
    writeln!(out, "\ndelegation")?;
    writeln!(out, "  {}", agent(root.agent.as_str(), &format::scopes(&root.scope)))?;
    let mut indent = String::from("  ");
    for (index, record) in claims.delegation_chain.iter().enumerate() {
        let held = claims.delegation_chain.get(index + 1).map_or(&claims.scope, |next| &next.scope);
        writeln!(out, "{indent}└─ {}", agent(record.delegate.as_str(), &format::scopes(held)))?;
        indent.push_str("   ");
        writeln!(out, "{indent}{}", times(record))?;
    }
    Ok(())
}

fn agent(id: &str, scopes: &str) -> String {
    printable(&format!("{id}  {scopes}")).into_owned()
}

fn times(record: &DelegationRecord) -> String {
    format!("delegated {}, no longer than {}", record.delegated_at, record.expires_at)
}
