//! Invariants that each step checks.

use agentwrit_verify::confirmation::ConfirmationState;

use super::{
    super::*,
    world::{TRIED_FOR, Waiting, World},
};

impl World {
    /// Requests each confirmation that is pending.
    pub(super) async fn confirm(&mut self) -> Result<(), String> {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.confirmed_at.is_none()) {
            let services = &self.broker.services;
            let found =
                services.confirmations.await_confirmation(&waiting.cursor, &Subject::Admin, Duration::ZERO).await;
            let found = found.map_err(|error| format!("at {}: {error}", self.now))?.confirmation;
            match found.state {
                ConfirmationState::Confirmed => {
                    waiting.confirmed_at = Some(self.now);
                    self.witness.confirmed += 1;
                    self.witness.with_fenced += u64::from(found.fenced > 0);
                }
                ConfirmationState::Unbounded => self.witness.unbounded += 1,
                ConfirmationState::Pending => {
                    let limit = i64::try_from(self.largest_bound).unwrap() * 1_000 + 1_000;
                    // After a restart a verifier without a bound has no fence before the lease of its instances has passed.
                    if self.now - waiting.since >= limit && !self.may_be_unbounded {
                        return Err(format!("at {}: pending since {}: {found:?}", self.now, waiting.since));
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn look(&mut self) -> Result<(), String> {
        for (index, token) in self.tokens.iter().enumerate().filter(|(_, token)| token.expires > self.now) {
            let of_token = |waiting: &&Waiting| waiting.tokens.contains(&index);
            let confirmed_at = self.waiting.iter().filter(of_token).filter_map(|waiting| waiting.confirmed_at).min();
            let is_confirmed = confirmed_at.is_some();
            let is_pending = self.waiting.iter().filter(of_token).any(|waiting| waiting.confirmed_at.is_none());
            // A rejected token costs a signature each time, so it is tried less often later.
            let tried = match confirmed_at {
                Some(at) if self.now - at > TRIED_FOR => 15,
                Some(_) => 100,
                None => self.plan.tried,
            };
            if !self.chance.percent(tried) {
                continue;
            }
            for instance in self.instances.iter().filter(|instance| !instance.is_paused(self.now)) {
                let dead_for = token.dead_since.map(|since| self.now - since);
                let context = || format!("at {}: token {index}, dead for {dead_for:?}, {instance}: ", self.now);
                match instance.verify(&token.text) {
                    Ok(_) if is_confirmed => return Err(context() + "accepted after the confirmation"),
                    Ok(_) if instance.bound_ms().zip(dead_for).is_some_and(|(bound, dead)| dead > bound) => {
                        return Err(context() + "accepted beyond the bound");
                    }
                    Ok(_) => {
                        self.witness.accepted += 1;
                        self.witness.accepted_while_pending += u64::from(is_pending);
                        self.witness.accepted_of_retiring_key += u64::from(token.kid != self.active);
                    }
                    Err(VerifyError::Expired { .. } | VerifyError::NotYetValid { .. }) => {}
                    Err(VerifyError::UnknownKey { .. }) if self.unplanned.contains(&token.kid) => {}
                    Err(error) if dead_for.is_none() && !error.is_unavailable() => {
                        return Err(context() + &format!("a good token was rejected: {error}"));
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}
