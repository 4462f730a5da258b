//! The audit trail as a reader sees it that continues after each fault.

use std::collections::HashMap;

use agentwrit_e2e::{Wire, event_hash};
use serde_json::Value;

/// Events read so far.
pub(super) struct Trail {
    length: u64,
    last_hash: String,
    /// How often each word of a detail, and each two that follow each other, occur in events of a type.
    words: HashMap<(String, String), usize>,
    /// Token ids of issued tokens, in the order of events.
    issued: Vec<String>,
    histories_lost: usize,
}

impl Trail {
    pub(super) fn new() -> Self {
        let last_hash = "0".repeat(64);
        Self { length: 0, last_hash, words: HashMap::new(), issued: Vec::new(), histories_lost: 0 }
    }

    /// Reads on, link by link. Returns true if an event tells that history was lost. Where the known events are gone, all is
    /// read again, and there has to be such an event.
    pub(super) async fn follow(&mut self, wire: &Wire, admin: &str) -> bool {
        let before = self.histories_lost;
        if !self.read(wire, admin).await {
            *self = Self::new();
            assert!(self.read(wire, admin).await, "the trail is no chain");
            assert!(self.histories_lost > before, "acknowledged events are gone, and no event `history_lost` tells so");
        }
        self.histories_lost > before
    }

    /// Returns false if the trail does not continue what is known.
    async fn read(&mut self, wire: &Wire, admin: &str) -> bool {
        loop {
            let path = format!("/v1/audit/events?limit=1000&cursor={}", self.length);
            let (status, page) = wire.get_as(&path, admin).await.expect("a broker that responds");
            assert_eq!(status, 200, "{page}");
            if page["total"].as_u64().unwrap() < self.length {
                return false;
            }
            for event in page["events"].as_array().unwrap() {
                if event["prev_hash"] != *self.last_hash {
                    return false;
                }
                self.length += 1;
                assert_eq!(event["id"], format!("evt-{:06}", self.length));
                self.last_hash = event_hash(event);
                assert_eq!(event["hash"], *self.last_hash, "{event}");
                self.note(event);
            }
            if page.get("next_cursor").is_none() {
                return true;
            }
        }
    }

    fn note(&mut self, event: &Value) {
        let event_type = event["event_type"].as_str().unwrap();
        self.histories_lost += usize::from(event_type == "history_lost");
        let words: Vec<&str> = event["detail"].as_str().unwrap().split(' ').collect();
        if matches!(event_type, "token_issued" | "token_renewed") {
            self.issued.extend(words.iter().find_map(|word| word.strip_prefix("jti=")).map(str::to_owned));
        }
        for word in words.windows(2).map(|pair| pair.join(" ")).chain(words.iter().map(|word| (*word).to_owned())) {
            *self.words.entry((event_type.to_owned(), word)).or_default() += 1;
        }
    }

    /// How many events of this type contain the words.
    pub(super) fn count(&self, event_type: &str, words: &str) -> usize {
        self.words.get(&(event_type.to_owned(), words.to_owned())).copied().unwrap_or_default()
    }

    /// Times of the tokens that are known, in the order of events.
    pub(super) fn times<'a>(&'a self, issued: &'a HashMap<String, u64>) -> impl Iterator<Item = u64> + 'a {
        self.issued.iter().filter_map(|jti| issued.get(jti).copied())
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn histories_lost(&self) -> usize {
        self.histories_lost
    }
}
