//! A resource server that knows the broker by its key set and its signed feed only.

use agentwrit_verify::{KeySet, RevocationKey, RevocationList, UnixTime, Verifier, testing::ManualClock};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

/// Verifies offline.
pub(super) struct Follower {
    issuer: String,
    keys: KeySet,
    list: RevocationList,
    pub(super) verifier: Verifier,
    epoch: Option<String>,
    cursor: u64,
    latest: u64,
}

impl Follower {
    pub(super) fn new(issuer: &str, keys: &KeySet, clock: &ManualClock) -> Self {
        let list = RevocationList::authoritative(issuer);
        let verifier = Verifier::builder()
            .issuer(issuer)
            .keys(keys.clone())
            .revocations(list.clone())
            .clock(clock.clone())
            .build();
        Self { issuer: issuer.into(), keys: keys.clone(), list, verifier, epoch: None, cursor: 0, latest: 0 }
    }

    /// What to ask the feed for.
    pub(super) fn since(&self) -> Option<u64> {
        self.epoch.is_some().then_some(self.cursor)
    }

    /// Takes in an answer, as strictly as the contract says.
    pub(super) fn absorb(&mut self, document: &str) {
        let answer = self.authentic(document);
        assert_eq!(answer["iss"], *self.issuer);
        let number = |name: &str| answer[name].as_u64().unwrap();
        assert!(number("iat") >= self.latest, "the state goes back in time");
        assert!(number("exp") > number("iat"));
        let epoch = answer["epoch"].as_str().unwrap();
        let known = self.epoch.get_or_insert_with(|| epoch.to_owned());
        assert_eq!(known, epoch);
        assert!(number("from") <= self.cursor, "a gap: {answer}");
        assert!(number("to") >= self.cursor, "the log goes back: {answer}");
        for entry in answer["entries"].as_array().unwrap() {
            let key = BASE64URL_NOPAD.decode(entry[1].as_str().unwrap().as_bytes()).unwrap();
            let [revoked_at, expires_at] = [2, 3].map(|at| UnixTime::from_seconds(entry[at].as_u64().unwrap()));
            assert!(expires_at.seconds() > number("iat"), "an entry past its time: {entry}");
            self.list.insert_key(RevocationKey::from_bytes(key.try_into().unwrap()), revoked_at, expires_at);
        }
        (self.cursor, self.latest) = (number("to"), number("iat"));
    }

    pub(super) fn tidy(&self, now: UnixTime) {
        self.list.forget_expired(now);
    }

    fn authentic(&self, document: &str) -> Value {
        let (signed, signature) = document.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let decoded = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
        assert_eq!(header["typ"], "agentwrit-revocations+jwt");
        let signature = decoded(signature).try_into().unwrap();
        assert!(self.keys.iter().any(|key| key.verifies(signed.as_bytes(), &signature)), "a forged answer");
        serde_json::from_slice(&decoded(payload)).unwrap()
    }
}
