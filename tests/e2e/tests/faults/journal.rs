//! Responses that a client received and may rely on.

use agentwrit_e2e::{Launch, jti};
use serde_json::Value;

/// The acknowledgements of one client, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Tokens that it was given and that nothing has ended, as far as it knows.
    pub(crate) live: Vec<Held>,
    /// Tokens whose end was acknowledged.
    pub(crate) dead: Vec<Dead>,
    /// Single-use launch tokens with which a registration succeeded, and the nonce that it spent.
    pub(crate) used: Vec<Used>,
    /// Registrations that were never answered.
    pub(crate) unanswered: Vec<Launch>,
    /// Event that the trail must contain: its type, and a word of its detail.
    pub(crate) events: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) token: String,
    pub(crate) agent_id: String,
}

/// A dead token, and which of the feed's entries kill it: one is enough.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) token: String,
    pub(crate) killed_by: Vec<(char, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) launch: Launch,
    pub(crate) nonce: String,
}

impl Journal {
    pub(crate) fn registered(&mut self, used: Used, body: &Value) {
        let token = text(body, "access_token");
        self.events.push(("agent_registered", format!("launch_token_id={}", used.launch.id)));
        self.events.push(("token_issued", format!("jti={}", jti(&token))));
        self.live.push(Held { token, agent_id: text(body, "agent_id") });
        self.used.push(used);
    }

    pub(crate) fn renewed(&mut self, old: Held, body: &Value) {
        let token = text(body, "access_token");
        self.events.push(("token_renewed", format!("jti={} replaces={}", jti(&token), jti(&old.token))));
        self.ended(&old, &[('t', jti(&old.token))]);
        self.live.push(Held { token, ..old });
    }

    pub(crate) fn released(&mut self, held: &Held) {
        self.events.push(("token_released", format!("jti={}", jti(&held.token))));
        self.ended(held, &[('t', jti(&held.token))]);
    }

    pub(crate) fn revoked(&mut self, held: &Held, level: &str, target: &str) {
        self.events.push(("token_revoked", format!("level={level} target={target}")));
        let letter = if level == "agent" { 'a' } else { 't' };
        self.ended(held, &[(letter, target.to_owned())]);
    }

    /// Outcome unknown.
    pub(crate) fn take(&mut self, index: usize) -> Held {
        self.live.swap_remove(index)
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.live.append(&mut other.live);
        self.dead.append(&mut other.dead);
        self.used.append(&mut other.used);
        self.unanswered.append(&mut other.unanswered);
        self.events.append(&mut other.events);
    }

    fn ended(&mut self, held: &Held, by: &[(char, String)]) {
        self.dead.push(Dead { token: held.token.clone(), killed_by: by.to_vec() });
    }
}

fn text(body: &Value, member: &str) -> String {
    body[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {body}")).to_owned()
}
