//! Clients that keep a broker busy until it is gone, and write down what they were told.

use agentwrit_e2e::{Numbers, Wire, jti};
use serde_json::{Value, json};

use crate::journal::{Journal, Used};

/// One client: registers, renews, releases and revokes at random. It ends with the broker.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    pub(crate) admin: String,
    pub(crate) numbers: Numbers,
    pub(crate) journal: Journal,
}

impl Client {
    pub(crate) async fn run(mut self) -> Journal {
        while self.act().await.is_some() {}
        self.journal
    }

    /// Nothing when the broker did not answer.
    async fn act(&mut self) -> Option<()> {
        let held = self.journal.live.len();
        if held == 0 {
            return self.register().await;
        }
        let chosen = self.numbers.below(held);
        match self.numbers.below(10) {
            0..5 => self.register().await,
            5..8 => self.renew(chosen).await,
            8 => self.release(chosen).await,
            _ => self.revoke(chosen).await,
        }
    }

    async fn register(&mut self) -> Option<()> {
        let launch = self.wire.launch_token(&self.admin, true).await?;
        let nonce = self.wire.nonce().await?;
        let Some(heard) = self.wire.register(&launch, &nonce).await else {
            self.journal.unanswered.push(launch);
            return None;
        };
        let body = granted(heard, 200);
        self.journal.registered(Used { launch, nonce }, &body);
        Some(())
    }

    async fn renew(&mut self, chosen: usize) -> Option<()> {
        let held = self.journal.take(chosen);
        let heard = self.wire.post("/v1/token/renew", Some(&held.token), &Value::Null).await?;
        self.journal.renewed(held, &granted(heard, 200));
        Some(())
    }

    async fn release(&mut self, chosen: usize) -> Option<()> {
        let held = self.journal.take(chosen);
        let heard = self.wire.post("/v1/token/release", Some(&held.token), &Value::Null).await?;
        granted(heard, 204);
        self.journal.released(&held);
        Some(())
    }

    async fn revoke(&mut self, chosen: usize) -> Option<()> {
        let held = self.journal.take(chosen);
        let (level, target) = match self.numbers.below(2) {
            0 => ("token", jti(&held.token)),
            _ => ("agent", held.agent_id.clone()),
        };
        let body = json!({"level": level, "target": target});
        let body = granted(self.wire.post("/v1/revoke", Some(&self.admin), &body).await?, 200);
        let expected = json!({"revoked": true, "level": level, "target": target, "count": 1, "cursor": body["cursor"]});
        assert_eq!(body, expected);
        self.journal.revoked(&held, level, &target);
        Some(())
    }
}

/// An answer from a broker that is alive: nothing but success will do.
#[track_caller]
fn granted((status, body): (u16, Value), expected: u16) -> Value {
    assert_eq!(status, expected, "{body}");
    body
}
