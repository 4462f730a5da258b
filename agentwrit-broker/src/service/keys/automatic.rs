//! Changes of the signing keys without an operator: rotation after `AA_KEY_ROTATION`, and retirement.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_verify::Subject;
use tokio::task::spawn_blocking;

use super::{ChangeAuthor, KeyService, examined, readiness_of, rules::Facts};
use crate::{domain::KeyState, service::Error, telemetry::metrics::KeyFigures};

/// Interval at which a rotation that waits for verifiers is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(3600);

/// Time at which a blocked rotation was logged last.
#[derive(Debug, Default)]
pub(super) struct Blocked(Mutex<Option<Instant>>);

impl Blocked {
    /// Returns true once, and again after [`LOG_INTERVAL`], while a rotation is blocked.
    fn is_to_be_logged(&self, is_blocked: bool, now: Instant) -> bool {
        let logged = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_blocked {
            *logged = None;
            return false;
        }
        let is_due = logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        if is_due {
            *logged = Some(now);
        }
        is_due
    }
}

impl KeyService {
    /// Retires, rotates and activates keys for which it is time, and sets the metrics. Of several brokers, the one that has the lock first acts.
    pub(crate) async fn run_due(self: &Arc<Self>) -> Result<(), Error> {
        let present = self.list().await?;
        let now = self.ledger.now();
        self.finish_files().await;
        self.faults.set(&present.unusable, self.issuer.custody().has_unsaved_key(), self.ledger.monotonic());
        // Verifiers matter to the activation of a rotation only.
        let is_awaited = present.keys.iter().any(|key| key.state == KeyState::Prepared && key.activates_at.is_some());
        let fleet = if is_awaited { Some(self.verifiers.fleet().await?) } else { None };
        let readiness = readiness_of(fleet.as_deref(), &present, now, self.ledger.monotonic());
        let facts = self.facts(&present, None, &readiness, now);
        self.report(&facts);
        if facts.due(self.rotation).is_empty() {
            return Ok(());
        }
        let service = Arc::clone(self);
        let of_broker = ChangeAuthor { by: Subject::Admin, bearer: None, client: None, reason: None };
        self.ledger
            .transact(move |tx| {
                let (present, now) = (examined(&service.issuer, tx.signing_keys()?, &tx.epoch()?), tx.now());
                let readiness = readiness_of(fleet.as_deref(), &present, now, service.ledger.monotonic());
                let last_expiry = tx.last_expiry_of_tokens()?;
                let steps = service.facts(&present, last_expiry, &readiness, now).due(service.rotation);
                service.apply(tx, present.keys, &steps, &of_broker)?;
                Ok::<_, Error>(())
            })
            .await
    }

    /// Writes and moves key files that could not be written or moved when the keys changed.
    async fn finish_files(&self) {
        let issuer = Arc::clone(&self.issuer);
        if let Err(error) = spawn_blocking(move || issuer.custody().finish_files()).await {
            tracing::error!(component = "signing", %error, "the files of the signing keys were not looked after");
        }
    }

    /// Sets the metrics, and logs a rotation that waits for verifiers.
    fn report(&self, facts: &Facts<'_>) {
        let states = [KeyState::Prepared, KeyState::Active, KeyState::Retiring, KeyState::Retired, KeyState::Withdrawn];
        let count = |state| facts.keys.iter().filter(|key| key.state == state).count() as u64;
        let activated_at = facts.active().and_then(|key| key.activated_at);
        let blocked = facts.blocked();
        self.metrics.set_signing_keys(&KeyFigures {
            keys: states.map(|state| (state, count(state))).into(),
            age: activated_at.map_or(Duration::ZERO, |at| facts.now.saturating_since(at)),
            overdue: facts.overdue(self.rotation),
            blocked: blocked.map_or(0, |_| facts.readiness.obstacles()),
        });
        if self.blocked.is_to_be_logged(blocked.is_some(), self.ledger.monotonic())
            && let Some(key) = blocked
        {
            tracing::warn!(
                component = "signing",
                kid = key.kid,
                instances = facts.readiness.obstacles(),
                named = facts.readiness.named(),
                "the rotation of the signing key waits for verifiers that lack the new key: have them fetch it, or remove them"
            );
        }
    }
}
