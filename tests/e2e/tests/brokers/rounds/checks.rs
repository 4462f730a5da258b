//! Invariants after each round.

use std::{collections::HashMap, time::Duration};

use agentwrit_e2e::{ADMIN_SECRET, Launch, Numbers, Wire};
use serde_json::{Value, json};

use super::{
    COUNT, Suite,
    journal::{Journal, Used},
};
use crate::within;

/// Registrations of a round that are tried again.
const TRIED_AGAIN: usize = 10;

impl Suite {
    /// Checks what clients heard against the trail, every broker and the follower.
    pub(super) async fn check(&mut self, mut heard: Journal, numbers: &mut Numbers) {
        self.write_at_each_broker().await;
        let wire = self.wires[numbers.below(COUNT)].clone();
        if self.trail.follow(&wire, &self.admin).await {
            self.accept_lost_history(&mut heard);
            self.rejected = self.follower.status().counters.responses_rejected;
        }
        self.times_follow_events(&heard);
        self.events_are_recorded_once(&heard);
        self.tokens_are_as_told(&heard, numbers).await;
        self.nothing_is_used_twice(&heard, numbers).await;
        for launch in heard.unknown.iter().take(TRIED_AGAIN) {
            self.happened_wholly_or_not_at_all(launch, numbers).await;
        }
        self.follower_agrees(&heard).await;
        self.known.keep(heard);
    }

    /// A broker notices lost history when it writes at the latest. Credentials that died with it are replaced.
    async fn write_at_each_broker(&mut self) {
        for number in 0..COUNT {
            let wire = self.wires[number].clone();
            let (mut status, mut body) = (503, Value::Null);
            for _ in 0..100 {
                (status, body) = wire.try_launch_token(&self.admin, false).await.expect("a broker that responds");
                match status {
                    201 => break,
                    401 => self.admin = log_in(&wire).await,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
            assert_eq!(status, 201, "broker {number}: {body}\n{}", self.brokers.at(number).output());
            self.reusable = Launch::from_body(&body);
        }
    }

    /// Drops the acknowledgements of this round, and counts every token issued until now as ended.
    fn accept_lost_history(&mut self, heard: &mut Journal) {
        heard.dead.extend(heard.live.drain(..).chain(self.known.live.drain(..)).map(|held| held.token));
        heard.events.clear();
        heard.used.clear();
        heard.unknown.clear();
    }

    fn times_follow_events(&self, heard: &Journal) {
        let issued: HashMap<String, u64> = heard.issued.iter().cloned().collect();
        let times: Vec<u64> = self.trail.times(&issued).collect();
        assert!(times.is_sorted(), "`iat` in the order of events: {times:?}");
    }

    fn events_are_recorded_once(&self, heard: &Journal) {
        for (event_type, words) in &heard.events {
            let count = self.trail.count(event_type, words);
            assert_eq!(count, 1, "acknowledged, and {count} times in the trail: {event_type} {words}");
        }
        for launch in &heard.nothing_done {
            let recorded = self.trail.count("agent_registered", &format!("launch_token_id={}", launch.id));
            assert_eq!(recorded, 0, "503 `unavailable`, and registered: {launch:?}");
        }
    }

    async fn tokens_are_as_told(&self, heard: &Journal, numbers: &mut Numbers) {
        for held in &heard.live {
            let wire = &self.wires[numbers.below(COUNT)];
            assert!(wire.validates(&held.token).await, "acknowledged, and lost: {}", held.token);
        }
        for token in &heard.dead {
            let wire = &self.wires[numbers.below(COUNT)];
            assert!(!wire.validates(token).await, "ended, and valid again: {token}");
        }
    }

    async fn nothing_is_used_twice(&self, heard: &Journal, numbers: &mut Numbers) {
        for Used { launch, nonce } in heard.used.iter().take(TRIED_AGAIN) {
            let wire = &self.wires[numbers.below(COUNT)];
            let fresh = wire.nonce().await.unwrap();
            refused(wire.register(launch, &fresh).await, &["launch token already consumed"]);
            let spent = ["nonce already consumed", "nonce not found or expired"];
            refused(wire.register(&self.reusable, nonce).await, &spent);
        }
    }

    /// A registration of unknown outcome is recorded and used its launch token up, or did neither.
    async fn happened_wholly_or_not_at_all(&self, launch: &Launch, numbers: &mut Numbers) {
        let wire = &self.wires[numbers.below(COUNT)];
        let (status, body) = wire.register(launch, &wire.nonce().await.unwrap()).await.unwrap();
        let happened = status == 401 && body["detail"] == "launch token already consumed";
        assert!(happened || status == 200, "{status} {body}");
        let recorded = self.trail.count("agent_registered", &format!("launch_token_id={}", launch.id));
        assert_eq!(recorded, usize::from(happened), "the trail and the launch token disagree about {launch:?}");
    }

    /// The follower learns of every end, and rejected nothing that brokers sent.
    async fn follower_agrees(&self, heard: &Journal) {
        let verifier = self.follower.verifier().build();
        for token in &heard.dead {
            let ended = async || verifier.verify(token).is_err();
            within(Duration::from_secs(10), "the follower rejects an ended token", ended).await;
        }
        for held in &heard.live {
            let result = verifier.verify(&held.token);
            assert!(result.is_ok(), "{:?}", result.err());
        }
        let counters = self.follower.status().counters;
        assert_eq!(counters.responses_rejected, self.rejected, "{counters:?}");
        assert!(counters.resyncs <= self.trail.histories_lost() as u64, "{counters:?}");
    }
}

async fn log_in(wire: &Wire) -> String {
    let (status, body) = wire.post("/v1/admin/auth", None, &json!({"secret": ADMIN_SECRET})).await.unwrap();
    assert_eq!(status, 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(heard: Option<(u16, Value)>, details: &[&str]) {
    let (status, body) = heard.unwrap();
    assert!(status == 401 && details.contains(&body["detail"].as_str().unwrap()), "{status} {body}");
}
