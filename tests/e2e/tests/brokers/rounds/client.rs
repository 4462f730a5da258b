//! Clients that use random brokers and write down what they were told.

use std::{sync::Arc, time::Duration};

use agentwrit_e2e::{Heard, Launch, Numbers, Wire, jti};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::{
    COUNT,
    journal::{Held, Journal, Used},
};

/// One client: registers, renews, releases, revokes and delegates at random.
pub(super) struct Client {
    pub(super) wires: Arc<[Wire; COUNT]>,
    pub(super) admin: String,
    pub(super) numbers: Numbers,
    pub(super) journal: Journal,
    /// Credentials may die with lost history in this round.
    pub(super) history_may_be_lost: bool,
}

/// Meaning of a response for the operation.
enum Outcome {
    Done(Value),
    /// 503 `unavailable`: nothing was done.
    NothingDone,
    Unknown,
    /// 401 in a round that may lose history: the client's credentials are gone.
    Ended,
}

impl Client {
    /// Runs until it is stopped, or its credentials died with lost history.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Journal {
        while !*stop.borrow() && self.act().await.is_some() {}
        self.journal
    }

    async fn act(&mut self) -> Option<()> {
        let held = self.journal.live.len();
        if held == 0 {
            return self.register().await;
        }
        let chosen = self.numbers.below(held);
        match self.numbers.below(12) {
            0..5 => self.register().await,
            5..8 => self.renew(chosen).await,
            8 => self.release(chosen).await,
            9 => self.delegate(chosen).await,
            _ => self.revoke(chosen).await,
        }
    }

    async fn register(&mut self) -> Option<()> {
        let issued = self.any().1.try_launch_token(&self.admin, true).await;
        let body = match self.outcome(issued, 201).await {
            Outcome::Done(body) => body,
            Outcome::NothingDone | Outcome::Unknown => return Some(()),
            Outcome::Ended => return None,
        };
        let launch = Launch::from_body(&body);
        self.journal.events.push(("launch_token_issued", format!("launch_token_id={}", launch.id)));
        let (first, wire) = self.any();
        let Some((200, body)) = wire.get("/v1/challenge").await else { return Some(()) };
        let nonce = body["nonce"].as_str().unwrap().to_owned();
        if self.numbers.below(4) == 0 {
            return self.register_twice(first, launch, nonce).await;
        }
        let (_, wire) = self.any();
        let heard = wire.register(&launch, &nonce).await;
        match self.outcome(heard, 200).await {
            Outcome::Done(body) => self.journal.registered(Used { launch, nonce }, &body),
            Outcome::NothingDone => self.journal.nothing_done.push(launch),
            Outcome::Unknown => self.journal.unknown.push(launch),
            Outcome::Ended => return None,
        }
        Some(())
    }

    /// Registers at two brokers at once: at most one succeeds.
    async fn register_twice(&mut self, first: usize, launch: Launch, nonce: String) -> Option<()> {
        let (here, there) = (&self.wires[first], &self.wires[(first + 1) % COUNT]);
        let (here, there) = tokio::join!(here.register(&launch, &nonce), there.register(&launch, &nonce));
        let successes: Vec<Value> = [&here, &there]
            .into_iter()
            .flatten()
            .filter(|(status, _)| *status == 200)
            .map(|(_, body)| body.clone())
            .collect();
        assert!(successes.len() <= 1, "registered twice: {here:?} {there:?}");
        match successes.first() {
            Some(body) => {
                self.journal.count(|tally| tally.acknowledged += 1);
                self.journal.registered(Used { launch, nonce }, body);
            }
            None => self.journal.unknown.push(launch),
        }
        Some(())
    }

    async fn renew(&mut self, chosen: usize) -> Option<()> {
        let held = self.journal.live.swap_remove(chosen);
        let (number, wire) = self.any();
        let heard = wire.post("/v1/token/renew", Some(&held.token), &Value::Null).await;
        match self.outcome(heard, 200).await {
            Outcome::Done(body) => {
                let old = held.token.clone();
                self.journal.renewed(held, &body);
                self.ended_elsewhere(number, &old).await;
            }
            Outcome::NothingDone => self.journal.live.push(held),
            Outcome::Unknown | Outcome::Ended => {}
        }
        Some(())
    }

    async fn release(&mut self, chosen: usize) -> Option<()> {
        let held = self.journal.live.swap_remove(chosen);
        let (number, wire) = self.any();
        let heard = wire.post("/v1/token/release", Some(&held.token), &Value::Null).await;
        match self.outcome(heard, 204).await {
            Outcome::Done(_) => {
                let old = held.token.clone();
                self.journal.released(held);
                self.ended_elsewhere(number, &old).await;
            }
            Outcome::NothingDone => self.journal.live.push(held),
            Outcome::Unknown | Outcome::Ended => {}
        }
        Some(())
    }

    async fn revoke(&mut self, chosen: usize) -> Option<()> {
        let held = self.journal.live.swap_remove(chosen);
        let (level, target) = match self.numbers.below(2) {
            0 => ("token", jti(&held.token)),
            _ => ("agent", held.agent_id.clone()),
        };
        self.revoke_target(held, level, &target).await
    }

    async fn revoke_target(&mut self, held: Held, level: &str, target: &str) -> Option<()> {
        let body = json!({"level": level, "target": target});
        let (number, wire) = self.any();
        let heard = wire.post("/v1/revoke", Some(&self.admin), &body).await;
        match self.outcome(heard, 200).await {
            Outcome::Done(body) => {
                assert_eq!(body["revoked"], true, "{body}");
                let old = held.token.clone();
                self.journal.revoked(held, level, target);
                self.ended_elsewhere(number, &old).await;
            }
            Outcome::NothingDone => self.journal.live.push(held),
            Outcome::Unknown => {}
            Outcome::Ended => return None,
        }
        Some(())
    }

    /// Delegates to itself under another name, then ends the delegator: the delegated token ends with it.
    async fn delegate(&mut self, chosen: usize) -> Option<()> {
        if self.journal.live.len() < 2 {
            return Some(());
        }
        let held = self.journal.live.swap_remove(chosen);
        let other = self.journal.live[self.numbers.below(self.journal.live.len())].agent_id.clone();
        let body = json!({"delegate_to": other, "scope": ["read:data:x"], "ttl": 86400});
        let (_, wire) = self.any();
        let heard = wire.post("/v1/delegate", Some(&held.token), &body).await;
        match self.outcome(heard, 200).await {
            Outcome::Done(body) => {
                let delegated = body["access_token"].as_str().unwrap().to_owned();
                self.journal.events.push(("delegation_created", format!("jti={}", jti(&delegated))));
                let target = jti(&held.token);
                let before = self.journal.dead.len();
                let went_on = self.revoke_target(held, "token", &target).await;
                if self.journal.dead.len() > before {
                    self.journal.dead.push(delegated);
                }
                went_on
            }
            Outcome::NothingDone => {
                self.journal.live.push(held);
                Some(())
            }
            Outcome::Unknown | Outcome::Ended => Some(()),
        }
    }

    /// After the end of a token was acknowledged by one broker, the others reject it, or answer 503.
    async fn ended_elsewhere(&mut self, number: usize, token: &str) {
        let other = &self.wires[(number + 1 + self.numbers.below(COUNT - 1)) % COUNT];
        if self.history_may_be_lost {
            return;
        }
        if let Some((status, body)) = other.post("/v1/token/validate", None, &json!({"token": token})).await {
            let rejected = status == 503 || (status == 200 && body["valid"] == false);
            assert!(rejected, "acknowledged as ended at broker {number}, and elsewhere {status} {body}");
        }
        if let Some((status, body)) = other.post("/v1/token/renew", Some(token), &Value::Null).await {
            assert!(
                matches!(status, 401 | 503),
                "acknowledged as ended at broker {number}, and renewed: {status} {body}"
            );
        }
    }

    fn any(&mut self) -> (usize, Wire) {
        let number = self.numbers.below(COUNT);
        (number, self.wires[number].clone())
    }

    async fn outcome(&mut self, heard: Heard, success: u16) -> Outcome {
        let outcome = match heard {
            Some((status, body)) if status == success => Outcome::Done(body),
            Some((503, body)) if body["error_code"] == "unavailable" => Outcome::NothingDone,
            Some((503, body)) if body["error_code"] == "outcome_unknown" => Outcome::Unknown,
            Some((401 | 404, _)) if self.history_may_be_lost => Outcome::Ended,
            Some((status, body)) => panic!("{status} {body}"),
            None => Outcome::Unknown,
        };
        self.journal.count(|tally| match outcome {
            Outcome::Done(_) => tally.acknowledged += 1,
            Outcome::NothingDone => tally.refused += 1,
            Outcome::Unknown => tally.unknown += 1,
            Outcome::Ended => tally.ended += 1,
        });
        if matches!(outcome, Outcome::NothingDone | Outcome::Unknown) {
            sleep(Duration::from_millis(20)).await;
        }
        outcome
    }
}
