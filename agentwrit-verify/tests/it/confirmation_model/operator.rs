//! Acts of the operator: issuing and revoking tokens, rotating and withdrawing keys.

use agentwrit_verify::{Clock as _, Level, confirmation::Commit};

use super::{Token, Waiting, World};

/// Time between the publication of a planned key and its first signature, in milliseconds.
const PREPARE_FOR: i64 = 60_000;

impl World {
    pub(super) fn operator_acts(&mut self) {
        if self.tokens.len() < 30 && self.chance.percent(25) {
            self.issue();
        }
        if self.chance.percent(5) && !self.tokens.is_empty() {
            self.revoke();
        }
        if self.chance.percent(1) {
            self.brokers.restart_or_change(self.now, &mut self.chance);
            self.witness.broker_restarts += 1;
        }
        self.rotate();
    }

    fn issue(&mut self) {
        let claims = self.issuer.claims(&["a:b:c"]);
        let text = self.issuer.sign(&claims);
        self.tokens.push(Token {
            text,
            claims,
            signed_by: self.keys.into(),
            of_unplanned_key: self.is_unplanned,
            dead_since: None,
        });
    }

    fn revoke(&mut self) {
        self.cut_off_instance();
        let index = self.chance.pick(self.tokens.len());
        let claims = &self.tokens[index].claims;
        let (level, target) = match self.chance.pick(2) {
            0 => (Level::Token, claims.jti.to_string()),
            _ => (Level::Agent, claims.sub.to_string()),
        };
        self.issuer.revoke(level, &target);
        self.tokens[index].dead_since.get_or_insert(self.now);
        self.wait_for(vec![index]);
    }

    /// Often isolates the instance with the largest bound, with the newest list that lacks what the broker does next.
    fn cut_off_instance(&mut self) {
        let now = self.now;
        let reachable = self.instances.iter_mut().filter(|instance| !instance.is_paused(now));
        if let Some(instance) = reachable.max_by_key(|instance| instance.bound_ms())
            && self.chance.percent(60)
        {
            self.fences.extend(instance.cut_off(now, &self.issuer, &mut self.chance));
        }
    }

    fn wait_for(&mut self, tokens: Vec<usize>) {
        let commit = Commit { cursor: self.issuer.cursor(), at: self.issuer.clock().now() };
        self.waiting.push(Waiting { commit, at: self.now, confirmed_at: None, tokens });
    }

    /// Planned rotations wait for every known instance; a withdrawal does not.
    fn rotate(&mut self) {
        if let Some(prepared_at) = self.prepared_at {
            let digest = self.issuer.key_set().digest();
            if self.now - prepared_at >= PREPARE_FOR && self.brokers.all_have_keys(digest, self.issuer.clock().now()) {
                self.issuer.activate_prepared_key();
                self.prepared_at = None;
                self.is_unplanned = false;
                self.keys += 1;
                self.witness.rotations += 1;
                if self.chance.percent(40) {
                    self.withdraw_retired();
                }
            }
        } else if self.chance.percent(2) {
            self.issuer.prepare_key([100 + self.keys; 32]);
            self.prepared_at = Some(self.now);
        } else if self.keys < 50 && self.chance.below(400) == 0 {
            self.cut_off_instance();
            self.issuer.rotate_key([100 + self.keys; 32]);
            self.is_unplanned = true;
            self.keys += 1;
            self.withdraw_retired();
        }
    }

    fn withdraw_retired(&mut self) {
        self.issuer.withdraw_retired_keys();
        self.witness.withdrawals += 1;
        let active = usize::from(self.keys);
        let concerned: Vec<usize> =
            (0..self.tokens.len()).filter(|index| self.tokens[*index].signed_by < active).collect();
        for index in &concerned {
            self.tokens[*index].dead_since.get_or_insert(self.now);
        }
        self.wait_for(concerned);
    }
}
