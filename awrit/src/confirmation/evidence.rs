//! Evidence of a confirmation, checked without the broker's word: `awrit confirmation CURSOR --evidence`.

use agentwrit_client::{Admin, AuditQuery};
use agentwrit_verify::{
    FeedCursor,
    audit::{Event, EventType},
    confirmation::ConfirmationEvidence,
};

use crate::{context::Context, error::CliError, format};

/// Fetches the evidence, verifies each report in it, repeats the decision, and compares its digest with the audit trail.
pub(super) async fn show(admin: &Admin, cursor: &FeedCursor, context: &Context) -> Result<(), CliError> {
    let evidence = admin.confirmation_evidence(cursor).await?;
    let figures = evidence.check().map_err(|error| unproved(cursor, &error.to_string()))?;
    if evidence.cursor != *cursor {
        return Err(unproved(cursor, &format!("it is of the cursor {}", evidence.cursor)));
    }
    let digest = evidence.digest();
    let event = recorded(admin, &evidence).await?;
    let event = event.ok_or_else(|| unproved(cursor, "the audit trail has no event `revocation_confirmed` of it"))?;
    if !event.detail.split_whitespace().any(|word| word.strip_prefix("evidence=") == Some(&*digest)) {
        return Err(unproved(cursor, &format!("its digest {digest} is not that of the event {}", event.id)));
    }
    context.output.print(&evidence, |out| {
        let instances = format::count(figures.confirmed.saturating_add(figures.fenced), "instance");
        let (confirmed, fenced) = (format::number(figures.confirmed), format::number(figures.fenced));
        writeln!(out, "Proved for {instances}: {confirmed} reported the cursor, {fenced} fenced.")?;
        writeln!(out, "Digest {digest}, as in the event {}.", event.id)
    })
}

/// Returns the event of the confirmation.
async fn recorded(admin: &Admin, evidence: &ConfirmationEvidence) -> Result<Option<Event>, CliError> {
    let mut query = AuditQuery { event_type: Some(EventType::RevocationConfirmed), ..AuditQuery::default() };
    let resource = evidence.cursor.to_string();
    loop {
        let page = admin.audit_events(&query).await?;
        let found = page.entries.into_iter().find(|event| event.resource.as_deref() == Some(&*resource));
        if found.is_some() || page.next_cursor.is_none() {
            return Ok(found);
        }
        query.page.cursor = page.next_cursor;
    }
}

fn unproved(cursor: &FeedCursor, defect: &str) -> CliError {
    CliError::Unconfirmed {
        code: 3,
        message: format!("the evidence of {cursor} does not prove the confirmation: {defect}"),
        hint: Some("compare the enrolments and the event with the exported audit trail".to_owned()),
    }
}
