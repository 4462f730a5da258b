//! SIGKILL under load: whatever was acknowledged is there afterwards, and nothing is there by half.
//!
//! `AGENTWRIT_CRASH_ROUNDS=1000 cargo test -p agentwrit-e2e --test faults crash` kills more often;
//! `AGENTWRIT_CRASH_SEED` repeats the moments of a failed run (the threads of both processes remain their own).

use std::{collections::HashSet, env, time::Duration};

use agentwrit_e2e::{Broker, Launch, Numbers, Wire, event_hash, revocation_key};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    journal::{Dead, Held, Journal, Used},
    load::Client,
};

const ROUNDS: usize = 50;
const CLIENTS: usize = 8;
const SETTINGS: [(&str, &str); 2] = [("AA_ADMIN_TOKEN_TTL", "3600"), ("AA_LOG_LEVEL", "standard")];
const ISSUER: &str = "https://agentwrit.local";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_operations_survive_sigkill() {
    let rounds = setting("AGENTWRIT_CRASH_ROUNDS").unwrap_or(ROUNDS as u64);
    let seed = setting("AGENTWRIT_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("AGENTWRIT_CRASH_SEED={seed}");
    let mut numbers = Numbers(seed);
    let mut survivor = Survivor::begin().await;
    for _ in 0..rounds {
        survivor.round(&mut numbers).await;
    }
    survivor.end().await;
}

/// A broker that is killed again and again, and all that it has acknowledged.
struct Survivor {
    directory: TempDir,
    admin: String,
    /// Registers as often as one likes: to try nonces with.
    reusable: Launch,
    known: Journal,
    trail: Trail,
}

impl Survivor {
    async fn begin() -> Self {
        let broker = Broker::start_with(&SETTINGS).await;
        let admin = broker.admin_token().await;
        let reusable = Wire::to(&broker).launch_token(&admin, false).await.unwrap();
        let (known, trail) = (Journal::default(), Trail::new());
        Self { directory: broker.kill().await, admin, reusable, known, trail }
    }

    async fn round(&mut self, numbers: &mut Numbers) {
        let broker = Broker::start_in(std::mem::replace(&mut self.directory, TempDir::new().unwrap()), &SETTINGS).await;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let mut journal = Journal::default();
            // Some of what earlier rounds left is renewed, released and revoked in this one.
            for _ in 0..self.known.live.len().min(4) {
                let chosen = numbers.below(self.known.live.len());
                journal.live.push(self.known.take(chosen));
            }
            let wire = Wire::to(&broker);
            clients.spawn(Client { wire, admin: self.admin.clone(), numbers: numbers.split(), journal }.run());
        }
        sleep(Duration::from_millis(numbers.below(300) as u64)).await;
        self.directory = broker.kill().await;
        let mut heard = Journal::default();
        clients.join_all().await.into_iter().for_each(|journal| heard.append(journal));
        self.check(heard).await;
    }

    /// On the files that the crash left, before anything else happens.
    async fn check(&mut self, heard: Journal) {
        let broker = Broker::start_in(std::mem::replace(&mut self.directory, TempDir::new().unwrap()), &SETTINGS).await;
        let wire = Wire::to(&broker);
        tokens_are_as_told(&wire, &heard.live, &heard.dead).await;
        self.trail.follow(&broker, &self.admin).await;
        self.trail.shows(&heard.events);
        for Used { launch, nonce } in &heard.used {
            let fresh = wire.nonce().await.unwrap();
            refused(wire.register(launch, &fresh).await, &["launch token already consumed"]);
            let spent = ["nonce already consumed", "nonce not found or expired"];
            refused(wire.register(&self.reusable, nonce).await, &spent);
        }
        for launch in &heard.unanswered {
            self.all_or_nothing(&wire, launch).await;
        }
        self.directory = broker.kill().await;
        self.known.append(heard);
    }

    /// A registration that was never answered happened wholly or not at all.
    async fn all_or_nothing(&self, wire: &Wire, launch: &Launch) {
        let (status, body) = wire.register(launch, &wire.nonce().await.unwrap()).await.unwrap();
        let happened = status == 401 && body["detail"] == "launch token already consumed";
        assert!(happened || status == 200, "{status} {body}");
        let recorded = self.trail.has("agent_registered", &format!("launch_token_id={}", launch.id));
        assert_eq!(recorded, happened, "the trail and the launch token disagree about {launch:?}");
    }

    /// Everything once more, after the last crash; and what the feed says about it.
    async fn end(mut self) {
        let broker = Broker::start_in(std::mem::replace(&mut self.directory, TempDir::new().unwrap()), &SETTINGS).await;
        tokens_are_as_told(&Wire::to(&broker), &self.known.live, &self.known.dead).await;
        let document = broker.get("/v1/revocations").await.body;
        let feed = broker.open(&String::from_utf8(document).unwrap(), "agentwrit-revocations+jwt").await;
        let entries: HashSet<(&str, &str)> = feed["entries"].as_array().unwrap().iter().map(level_and_key).collect();
        for Dead { killed_by, token } in &self.known.dead {
            let listed = killed_by.iter().any(|(letter, target)| {
                let key = revocation_key(*letter, ISSUER, target);
                entries.contains(&(letter.to_string().as_str(), key.as_str()))
            });
            assert!(listed, "the feed does not know that {token} is dead");
        }
        self.trail.follow(&broker, &self.admin).await;
        self.trail.shows(&self.known.events);
        let Journal { live, dead, used, unanswered, events } = &self.known;
        println!(
            "{} live, {} dead, {} registered, {} unanswered, {} events acknowledged, {} in the trail",
            live.len(),
            dead.len(),
            used.len(),
            unanswered.len(),
            events.len(),
            self.trail.length
        );
        assert!(used.len() > 100 && dead.len() > 50, "there was hardly any load");
    }
}

async fn tokens_are_as_told(wire: &Wire, live: &[Held], dead: &[Dead]) {
    for held in live {
        assert!(wire.validates(&held.token).await, "acknowledged, and lost: {}", held.token);
    }
    for Dead { token, killed_by } in dead {
        assert!(!wire.validates(token).await, "ended by {killed_by:?}, and alive again: {token}");
    }
}

#[track_caller]
fn refused(heard: Option<(u16, Value)>, details: &[&str]) {
    let (status, body) = heard.unwrap();
    assert!(status == 401 && details.contains(&body["detail"].as_str().unwrap()), "{status} {body}");
}

fn level_and_key(entry: &Value) -> (&str, &str) {
    (entry[0].as_str().unwrap(), entry[1].as_str().unwrap())
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Audit trail as seen by a reader that continues after the crash.
struct Trail {
    length: u64,
    last_hash: String,
    /// Event types, each with every word of a detail, and every two that follow each other.
    words: HashSet<(String, String)>,
}

impl Trail {
    fn new() -> Self {
        Self { length: 0, last_hash: "0".repeat(64), words: HashSet::new() }
    }

    /// Reads on, link by link.
    async fn follow(&mut self, broker: &Broker, admin: &str) {
        let mut more = true;
        while more {
            let path = format!("/v1/audit/events?limit=1000&cursor={}", self.length);
            let page = broker.get(&path).bearer(admin).await.json();
            for event in page["events"].as_array().unwrap() {
                self.length += 1;
                assert_eq!(event["id"], format!("evt-{:06}", self.length));
                assert_eq!(event["prev_hash"], *self.last_hash, "{event}");
                self.last_hash = event_hash(event);
                assert_eq!(event["hash"], *self.last_hash, "{event}");
                self.note(event);
            }
            more = page.get("next_cursor").is_some();
        }
    }

    fn note(&mut self, event: &Value) {
        let event_type = event["event_type"].as_str().unwrap();
        let words: Vec<&str> = event["detail"].as_str().unwrap().split(' ').collect();
        for word in words.windows(2).map(|pair| pair.join(" ")).chain(words.iter().map(|word| (*word).to_owned())) {
            self.words.insert((event_type.to_owned(), word));
        }
    }

    fn has(&self, event_type: &str, word: &str) -> bool {
        self.words.contains(&(event_type.to_owned(), word.to_owned()))
    }

    fn shows(&self, acknowledged: &[(&'static str, String)]) {
        for (event_type, word) in acknowledged {
            assert!(self.has(event_type, word), "acknowledged, and not in the trail: {event_type} {word}");
        }
    }
}
