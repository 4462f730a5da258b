//! Responses that clients received and may rely on.

use agentwrit_e2e::{Launch, Numbers, jti, payload};
use serde_json::Value;

/// Acknowledgements of one round, or of all.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Tokens that nothing has ended, as far as clients know.
    pub(super) live: Vec<Held>,
    /// Tokens whose end was acknowledged.
    pub(super) dead: Vec<String>,
    /// Launch tokens and nonces of registrations that succeeded.
    pub(super) used: Vec<Used>,
    /// Launch tokens of registrations whose outcome is unknown.
    pub(super) unknown: Vec<Launch>,
    /// Launch tokens of registrations that certainly failed.
    pub(super) nothing_done: Vec<Launch>,
    /// Events that the trail contains exactly once: type and words of the detail.
    pub(super) events: Vec<(&'static str, String)>,
    /// `jti` and `iat` of each issued token.
    pub(super) issued: Vec<(String, u64)>,
    tally: Tally,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) token: String,
    pub(super) agent_id: String,
}

#[derive(Clone, Debug)]
pub(super) struct Used {
    pub(super) launch: Launch,
    pub(super) nonce: String,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) acknowledged: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,
    /// 401 to credentials that died with lost history.
    pub(super) ended: usize,
    registrations: usize,
    dead: usize,
}

impl Journal {
    pub(super) fn registered(&mut self, used: Used, body: &Value) {
        let token = text(body, "access_token");
        self.events.push(("agent_registered", format!("launch_token_id={}", used.launch.id)));
        self.events.push(("token_issued", format!("jti={}", jti(&token))));
        self.holds(token, text(body, "agent_id"));
        self.used.push(used);
        self.tally.registrations += 1;
    }

    pub(super) fn renewed(&mut self, old: Held, body: &Value) {
        let token = text(body, "access_token");
        self.events.push(("token_renewed", format!("jti={} replaces={}", jti(&token), jti(&old.token))));
        self.dead.push(old.token);
        self.holds(token, old.agent_id);
    }

    pub(super) fn released(&mut self, held: Held) {
        self.events.push(("token_released", format!("jti={}", jti(&held.token))));
        self.dead.push(held.token);
    }

    pub(super) fn revoked(&mut self, held: Held, level: &str, target: &str) {
        self.events.push(("token_revoked", format!("level={level} target={target}")));
        self.dead.push(held.token);
    }

    fn holds(&mut self, token: String, agent_id: String) {
        self.issued.push((jti(&token), payload(&token)["iat"].as_u64().unwrap()));
        self.live.push(Held { token, agent_id });
    }

    pub(super) fn count(&mut self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally);
    }

    /// Takes live tokens, whose outcome another client will know.
    pub(super) fn take_some(&mut self, most: usize, numbers: &mut Numbers) -> Self {
        let mut taken = Self::default();
        for _ in 0..self.live.len().min(most) {
            let chosen = numbers.below(self.live.len());
            taken.live.push(self.live.swap_remove(chosen));
        }
        taken
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.live.append(&mut other.live);
        self.dead.append(&mut other.dead);
        self.used.append(&mut other.used);
        self.unknown.append(&mut other.unknown);
        self.nothing_done.append(&mut other.nothing_done);
        self.events.append(&mut other.events);
        self.issued.append(&mut other.issued);
        self.tally.add(other.tally);
    }

    /// Keeps the live tokens and the totals of a round whose checks passed.
    pub(super) fn keep(&mut self, round: Self) {
        self.tally.add(round.tally);
        self.tally.dead += round.dead.len();
        self.live.extend(round.live);
    }

    pub(super) fn registrations(&self) -> usize {
        self.tally.registrations
    }

    pub(super) fn totals(&self) -> String {
        let Tally { acknowledged, refused, unknown, ended, registrations, dead } = self.tally;
        format!(
            "{acknowledged} operations acknowledged ({registrations} registrations, {dead} tokens ended), {refused} refused \
             with 503, {unknown} of unknown outcome, {ended} with credentials of lost history"
        )
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.ended += other.ended;
        self.registrations += other.registrations;
        self.dead += other.dead;
    }
}

fn text(body: &Value, member: &str) -> String {
    body[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {body}")).to_owned()
}
