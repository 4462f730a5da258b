//! After a restore from a backup: what the backup doesn't know must stay in force.

use std::time::Duration;

use agentwrit_verify::{Clock, Level, Subject, SystemClock};

use crate::{
    audit::{EventType, NewEvent},
    broker::StartError,
    config::Config,
    domain::Revocation,
    store::{Store, StoreError, StoreOptions},
};

/// The longest that a token can live, in seconds: what a launch token may grant at most.
const LONGEST_TTL: u64 = 86_400;

/// Starts another epoch of the revocation log, with an issuer-wide not-before mark: every token issued until now is
/// dead, because revocations that came after the backup are lost with the restore.
///
/// # Errors
///
/// [`StartError`] when the database can't be opened (a running broker holds it) or written.
pub async fn mark_restored(config: &Config) -> Result<(), StartError> {
    let options = StoreOptions { accept_broken_audit: config.accept_broken_audit, ..StoreOptions::default() };
    let store = Store::open(&config.db_path, options)?;
    store
        .transact(|tx| {
            let now = SystemClock.now();
            tx.start_epoch()?;
            tx.insert_revocation(&Revocation {
                level: Level::Issuer,
                target: String::new(),
                revoked_at: now,
                expires_at: now.saturating_add(Duration::from_secs(LONGEST_TTL)),
                revoked_by: Subject::Admin,
                reason: Some(String::from("restored from a backup")),
                listed: true,
            })?;
            let detail = "store restored from a backup, everything issued until now is revoked";
            let event = NewEvent::success(EventType::TokenRevoked, now, Subject::Admin, detail);
            tx.append(event.word("level", Level::Issuer))?;
            Ok::<_, StoreError>(())
        })
        .await?;
    store.close().await;
    Ok(())
}
