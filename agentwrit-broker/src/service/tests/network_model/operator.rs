//! Tokens, revocations and keys.

use agentwrit_verify::{Clock as _, FeedCursor, KeySet};

use super::{
    super::{
        key_operations::{author, kid_of},
        *,
    },
    world::{CACHED_FOR, LIFETIME, MOST_TOKENS, Token, Waiting, World, active_kid},
};
use crate::service::keys::KeyOperation;

impl World {
    pub(super) async fn operator_acts(&mut self) {
        let live: Vec<usize> = (0..self.tokens.len()).filter(|index| self.tokens[*index].expires > self.now).collect();
        if live.len() < MOST_TOKENS && self.chance.percent(25) {
            let Agent { id, token: text } = self.broker.enrol("task", LIFETIME).await;
            let (jti, kid) = (self.broker.bearer(&text).token_id().to_string(), kid_of(&text));
            let expires = self.now + i64::try_from(LIFETIME).unwrap() * 1_000;
            self.tokens.push(Token { text, id, jti, kid, expires, dead_since: None });
        }
        if self.chance.thousandths(self.plan.revocation) && !live.is_empty() {
            self.cut_off_instance().await;
            let index = live[self.chance.pick(live.len())];
            let right = self.broker.clock.now();
            self.set_wrong_clock();
            let token = &mut self.tokens[index];
            let outcome = match self.chance.pick(2) {
                0 => self.broker.request_revocation(Level::Token, &token.jti, false).await,
                _ => self.broker.request_revocation(Level::Agent, &token.id, false).await,
            };
            token.dead_since.get_or_insert(self.now);
            self.broker.clock.set(right);
            self.wait_for(outcome.cursor, vec![index]);
        }
        if self.chance.thousandths(self.plan.restart) {
            self.restart_broker().await;
        }
    }

    /// Sets the broker's wall clock forward or back by up to two hours.
    fn set_wrong_clock(&mut self) {
        if !self.chance.percent(self.plan.wrong_clock) {
            return;
        }
        self.witness.wrong_clocks += 1;
        let (right, step) = (self.broker.clock.now(), self.chance.between(-7_200, 7_200));
        let by = Duration::from_secs(step.unsigned_abs());
        self.broker.clock.set(if step < 0 { right.saturating_sub(by) } else { right.saturating_add(by) });
    }

    /// Often isolates the instance with the largest bound, with the newest list that lacks what the broker does next.
    pub(super) async fn cut_off_instance(&mut self) {
        let now = self.now;
        let reachable = self.instances.iter_mut().filter(|instance| !instance.is_paused(now));
        if let Some(instance) = reachable.max_by_key(|instance| instance.bound_ms())
            && self.chance.percent(60)
        {
            let fence = instance.cut_off(now, &self.broker.services, &mut self.chance).await;
            self.fences.extend(fence);
        }
    }

    pub(super) fn wait_for(&mut self, cursor: FeedCursor, tokens: Vec<usize>) {
        self.waiting.push(Waiting { cursor, since: self.now, confirmed_at: None, tokens });
    }

    /// The broker rotates by itself; the operator withdraws keys at any time.
    pub(super) async fn keys_change(&mut self) {
        if !self.plan.rotates {
            return;
        }
        if self.chance.percent(30) {
            self.broker.services.keys.run_due().await.unwrap();
            let active = active_kid(&self.broker);
            if active != self.active {
                self.active = active;
                self.witness.rotations += 1;
            }
        }
        if self.chance.next().is_multiple_of(500) {
            let published: Vec<String> =
                self.broker.services.issuer.ring().published.iter().map(|key| key.id().as_str().to_owned()).collect();
            let kid = published[self.chance.pick(published.len())].clone();
            self.withdraw(kid).await;
        }
    }

    pub(super) async fn withdraw(&mut self, kid: String) {
        self.cut_off_instance().await;
        let operation = KeyOperation::Withdraw { kid: kid.clone() };
        let change = self.broker.services.keys.change(operation, author(None)).await.unwrap();
        self.witness.withdrawals += 1;
        let active = active_kid(&self.broker);
        if active != self.active {
            self.unplanned.insert(active.clone());
            self.active = active;
        }
        let concerned: Vec<usize> = (0..self.tokens.len()).filter(|index| self.tokens[*index].kid == kid).collect();
        for index in &concerned {
            self.tokens[*index].dead_since.get_or_insert(self.now);
        }
        self.wait_for(change.cursor, concerned);
    }

    /// Returns the key set that a fetch gets, from the broker or from a cache.
    pub(super) fn key_set_response(&mut self) -> (KeySet, Duration) {
        match &self.cached_keys {
            Some((held, until)) if self.now < *until && !self.caches_revalidate => {
                let age = self.now - (*until - CACHED_FOR);
                (held.clone(), Duration::from_millis(age.unsigned_abs()))
            }
            Some(_) | None => {
                let fresh = self.broker.services.issuer.ring().published.clone();
                self.cached_keys = Some((fresh.clone(), self.now + CACHED_FOR));
                (fresh, Duration::ZERO)
            }
        }
    }
}
