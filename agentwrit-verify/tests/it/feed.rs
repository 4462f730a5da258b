//! Responses of the revocation feed: which are applied and which are rejected.

use std::time::Duration;

use agentwrit_verify::{
    Clock as _, FeedError, Level, RevocationList, SystemClock, VerifyError,
    error::TokenFormatError,
    feed::{ClockReading, Feed, Staleness},
    issue::SigningKey,
    testing::{ManualClock, TestFollower, TestIssuer},
};
use serde_json::{Value, json};

use crate::support::{START, at, encode, signed_by};

/// A service that has a first snapshot of an issuer, whose log has two entries.
struct Scene {
    issuer: TestIssuer,
    service: TestFollower,
}

impl Scene {
    fn new() -> Self {
        Self::with(Staleness::default())
    }

    fn with(staleness: Staleness) -> Self {
        let issuer = TestIssuer::new();
        issuer.revoke(Level::Task, "one");
        issuer.revoke(Level::Task, "two");
        let mut service = TestFollower::of(&issuer, staleness);
        service.poll(&issuer).unwrap();
        Self { issuer, service }
    }

    fn pass(&self, seconds: u64) {
        self.issuer.clock().advance(Duration::from_secs(seconds));
    }

    /// Returns the issuer's response to the service's next request.
    fn payload(&self) -> Value {
        self.payload_since(self.service.feed().since())
    }

    fn payload_since(&self, since: Option<u64>) -> Value {
        let response = self.issuer.feed_response(since);
        let payload = response.split('.').nth(1).unwrap();
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
    }

    fn signed(&self, payload: &Value) -> String {
        self.issuer.signing_key().sign_document(Feed::MEDIA_TYPE, payload.to_string().as_bytes())
    }

    /// Delivers the issuer's response with members changed.
    fn deliver(&mut self, changes: &[(&str, Value)]) -> Result<(), FeedError> {
        let mut payload = self.payload();
        for (member, value) in changes {
            payload[*member] = value.clone();
        }
        let response = self.signed(&payload);
        self.service.deliver(&response).map(drop)
    }

    /// Delivers a response that must be rejected, and checks that nothing changed.
    #[track_caller]
    fn rejection(&mut self, response: &str) -> FeedError {
        let (before, entries) = (self.service.verifier().status(), self.service.feed().list().len());
        let error = self.service.deliver(response).unwrap_err();
        assert_eq!(self.service.verifier().status(), before);
        assert_eq!(self.service.feed().list().len(), entries);
        error
    }

    #[track_caller]
    fn refuses_with(&mut self, changes: &[(&str, Value)]) -> FeedError {
        let mut payload = self.payload();
        for (member, value) in changes {
            payload[*member] = value.clone();
        }
        let response = self.signed(&payload);
        self.rejection(&response)
    }
}

fn stale(age: u64) -> VerifyError {
    VerifyError::StaleRevocations { age: Duration::from_secs(age), max: Duration::from_secs(30) }
}

#[test]
fn rejects_response_not_signed_by_trusted_key() {
    let mut scene = Scene::new();
    let honest = scene.payload().to_string();
    let key = scene.issuer.signing_key().clone();
    let header = |changes: &[(&str, Value)]| {
        let mut header = json!({"alg": "EdDSA", "typ": Feed::MEDIA_TYPE, "kid": key.id().as_str()});
        for (member, value) in changes {
            header[*member] = value.clone();
        }
        header.to_string()
    };
    let untrusted = SigningKey::from_seed(&[99; 32]).unwrap();
    assert_eq!(scene.rejection(&signed_by(&untrusted, header(&[]), &honest)), FeedError::BadSignature);
    let unknown = scene.rejection(&untrusted.sign_document(Feed::MEDIA_TYPE, honest.as_bytes()));
    assert_eq!(unknown, FeedError::UnknownKey { kid: Some(untrusted.id().to_string()) });
    assert!(unknown.needs_keys() && !unknown.needs_snapshot());

    for typ in ["JWT", "at+jwt", "application/agentwrit-revocations+jwt", "AgentWrit-Revocations+JWT", ""] {
        let error = scene.rejection(&signed_by(&key, header(&[("typ", typ.into())]), &honest));
        assert_eq!(error, FeedError::UnexpectedType { found: typ.into() });
    }
    let untyped = json!({"alg": "EdDSA", "kid": key.id().as_str()}).to_string();
    let error = scene.rejection(&signed_by(&key, untyped, &honest));
    assert_eq!(error, FeedError::UnexpectedType { found: String::new() });

    let critical = scene.rejection(&signed_by(&key, header(&[("crit", json!(["x"]))]), &honest));
    assert_eq!(critical, FeedError::NotSigned(VerifyError::CriticalHeader));
    let unsigned = scene.rejection(&format!("{}.{}.", encode(header(&[("alg", "none".into())])), encode(&honest)));
    assert_eq!(unsigned, FeedError::NotSigned(VerifyError::UnsupportedAlgorithm { algorithm: "none".into() }));
    let not_three = scene.rejection("no");
    assert_eq!(not_three, FeedError::NotSigned(TokenFormatError::NotThreeParts.into()));
}

#[test]
fn rejects_token_as_response_and_response_as_token() {
    let mut scene = Scene::new();
    let token = scene.issuer.token(&["read:data:*"]);
    assert_eq!(scene.rejection(&token), FeedError::UnexpectedType { found: "JWT".into() });
    let claims = serde_json::to_vec(&scene.issuer.claims(&["read:data:*"])).unwrap();
    let dressed = scene.issuer.signing_key().sign_document(Feed::MEDIA_TYPE, &claims);
    assert!(matches!(scene.rejection(&dressed), FeedError::Malformed { .. }));
    let expected = VerifyError::UnexpectedType { found: Feed::MEDIA_TYPE.into() };
    assert_eq!(scene.issuer.verifier().verify(&dressed), Err(expected.clone()));
    assert_eq!(scene.issuer.verifier().verify(&scene.issuer.feed_response(None)), Err(expected));
}

#[test]
fn rejects_malformed_responses() {
    let mut scene = Scene::new();
    let entry = json!(["t", encode([1; 16]), START, START + 60]);
    for (member, value) in [
        ("iss", json!(1)),
        ("iat", json!(-1)),
        ("iat", json!(1.5)),
        ("exp", Value::Null),
        ("epoch", json!("")),
        ("epoch", json!("e".repeat(129))),
        ("to", json!(1)),
        ("entries", json!({})),
        ("entries", json!([entry, 1])),
        ("entries", json!([["t", encode([1; 16]), START]])),
        ("entries", json!([["t", encode([1; 16]), START, START + 60, 1]])),
        ("entries", json!([["t", encode([1; 15]), START, START + 60]])),
        ("entries", json!([["t", encode([1; 17]), START, START + 60]])),
        ("entries", json!([["t", "", START, START + 60]])),
        ("entries", json!([["i", encode([1; 16]), START, START + 60]])),
        ("entries", json!([["x", encode([1; 16]), START, START + 60]])),
        ("entries", json!([["t", format!("{}==", encode([1; 16])), START, START + 60]])),
    ] {
        let error = scene.refuses_with(&[(member, value.clone())]);
        assert!(matches!(error, FeedError::Malformed { .. }), "{member} {value}: {error:?}");
    }
    let twice = scene.payload().to_string().replacen('{', r#"{"iss":"x","#, 1);
    let twice = scene.issuer.signing_key().sign_document(Feed::MEDIA_TYPE, twice.as_bytes());
    assert!(matches!(scene.rejection(&twice), FeedError::Malformed { .. }));
    scene.deliver(&[("entries", json!([entry])), ("unknown", json!(1))]).unwrap();
}

#[test]
fn rejects_response_of_another_issuer() {
    let expected = FeedError::WrongIssuer { found: "https://other.test".into() };
    assert_eq!(Scene::new().refuses_with(&[("iss", json!("https://other.test"))]), expected);
}

#[test]
fn rejects_response_over_limit() {
    let issuer = TestIssuer::new();
    let response = issuer.feed_response(None);
    let (length, limit) = (response.len(), response.len() - 1);
    let apply = |limit| {
        let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default()).max_response_length(limit);
        feed.apply(&response, &issuer.key_set(), ClockReading::of(issuer.clock())).map(drop)
    };
    assert_eq!(apply(limit), Err(FeedError::TooLong { length, limit }));
    assert_eq!(apply(length), Ok(()));
}

#[test]
fn times() {
    let mut scene = Scene::new();
    scene.pass(10);
    scene.service.poll(&scene.issuer).unwrap();
    let now = START + 10;
    let replayed = FeedError::Replayed { issued_at: at(now - 1), accepted: at(now) };
    assert_eq!(scene.refuses_with(&[("iat", json!(now - 1))]), replayed);
    let ahead = FeedError::IssuedAhead { by: Duration::from_secs(1) };
    assert_eq!(scene.deliver(&[("iat", json!(now + 6))]), Err(ahead));
    // The list is stale until a response is accepted: see `marks_list_stale_after_response_from_the_future`.
    assert!(!scene.service.verifier().is_ready());
    scene.service.poll(&scene.issuer).unwrap();
    for exp in [now, now - 5] {
        let expired = FeedError::Expired { by: Duration::from_secs(now - exp) };
        assert_eq!(scene.refuses_with(&[("exp", json!(exp))]), expired);
    }
    scene.deliver(&[]).unwrap();
    scene.deliver(&[("iat", json!(now + 5)), ("exp", json!(now + 1))]).unwrap();
}

#[test]
fn rejects_log_that_goes_back_or_has_gaps() {
    let mut scene = Scene::new();
    assert_eq!(scene.service.feed().since(), Some(2));
    let back = FeedError::RolledBack { to: 1, cursor: 2 };
    assert_eq!(scene.refuses_with(&[("from", json!(1)), ("to", json!(1))]), back);
    assert_eq!(scene.refuses_with(&[("from", json!(0)), ("to", json!(1))]), back);
    assert_eq!(scene.service.feed().since(), Some(2));

    let gap = scene.refuses_with(&[("from", json!(3)), ("to", json!(3))]);
    assert_eq!(gap, FeedError::Gap { from: 3, cursor: 2 });
    assert!(gap.needs_snapshot());
    assert_eq!(scene.service.feed().since(), None, "a snapshot is wanted");
    scene.issuer.revoke(Level::Task, "three");
    scene.service.poll(&scene.issuer).unwrap();
    assert_eq!((scene.service.feed().since(), scene.service.feed().list().len()), (Some(3), 3));

    // Overlapping pages repeat known entries.
    let overlap = scene.signed(&scene.payload_since(Some(1)));
    let applied = scene.service.deliver(&overlap).unwrap();
    assert_eq!((applied.changed, applied.snapshot, applied.entries), (false, false, 2));
    assert_eq!(scene.service.feed().list().len(), 3);
}

#[test]
fn requires_snapshot_as_first_response() {
    let issuer = TestIssuer::new();
    issuer.revoke(Level::Task, "one");
    let mut service = TestFollower::of(&issuer, Staleness::default());
    let delta = issuer.feed_response(Some(1));
    assert_eq!(service.deliver(&delta), Err(FeedError::Gap { from: 1, cursor: 0 }));
    let token = issuer.token(&["a:b:c"]);
    assert_eq!(service.verifier().verify(&token), Err(VerifyError::RevocationsUnavailable));
    assert_eq!(service.verifier().status().reason, Some("revocations_unavailable"));
    assert!(!service.verifier().is_ready());
}

#[test]
fn new_epoch_replaces_all_entries() {
    let mut scene = Scene::new();
    let token = scene.issuer.token(&["a:b:c"]);
    assert!(scene.service.verifier().verify(&token).is_ok());
    scene.pass(1);
    scene.issuer.restore_backup(0);
    let other_log = scene.issuer.feed_response(Some(1));
    assert_eq!(scene.rejection(&other_log), FeedError::NewEpoch);
    assert_eq!(scene.service.feed().since(), None);
    assert!(scene.service.verifier().verify(&token).is_ok(), "nothing is forgotten, nothing is believed");
    let applied = scene.service.poll(&scene.issuer).unwrap();
    assert!(applied.snapshot && applied.changed);
    assert_eq!(scene.service.feed().list().len(), 1, "the mark of the restore");
    let error = scene.service.verifier().verify(&token).unwrap_err();
    assert!(matches!(error, VerifyError::Revoked { level: Level::Issuer, .. }));
    scene.pass(1);
    assert!(scene.service.verifier().verify(&scene.issuer.token(&["a:b:c"])).is_ok());
}

#[test]
fn rejects_snapshot_of_previous_epoch() {
    let mut scene = Scene::new();
    let old = scene.issuer.feed_response(None);
    scene.issuer.restore_backup(1);
    let same_second = FeedError::Replayed { issued_at: at(START), accepted: at(START) };
    assert_eq!(scene.service.poll(&scene.issuer), Err(FeedError::NewEpoch));
    assert_eq!(scene.service.poll(&scene.issuer), Err(same_second.clone()), "which of the two is the newer log?");
    scene.pass(1);
    scene.service.poll(&scene.issuer).unwrap();
    let replayed = FeedError::Replayed { issued_at: at(START), accepted: at(START + 1) };
    assert_eq!(scene.rejection(&old), replayed);
}

#[test]
fn measures_age_from_signed_iat() {
    let mut scene = Scene::new();
    let token = scene.issuer.token(&["a:b:c"]);
    // 24 s later, and 5 s that the clock may be behind.
    scene.pass(24);
    assert!(scene.service.verifier().verify(&token).is_ok());
    scene.pass(1);
    assert_eq!(scene.service.verifier().verify(&token).err(), Some(stale(30)));
    // A delayed response makes the list no younger than its `iat`.
    let payload = scene.payload();
    scene.pass(20);
    let late = scene.signed(&payload);
    scene.service.deliver(&late).unwrap();
    assert!(scene.service.verifier().is_ready());
    scene.pass(5);
    assert_eq!(scene.service.verifier().ready().err(), Some(stale(30)));
    assert_eq!(scene.service.verifier().status().revocations.unwrap().age, Some(Duration::from_secs(30)));
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.service.verifier().verify(&token).is_ok());
}

#[test]
fn measures_age_despite_stopped_or_reset_wall_clock() {
    let scene = Scene::new();
    let token = scene.issuer.token(&["a:b:c"]);
    for _ in 0..24 {
        scene.pass(1);
        scene.issuer.clock().set(at(START));
        assert!(scene.service.verifier().verify(&token).is_ok());
    }
    scene.pass(1);
    scene.issuer.clock().set(at(START));
    assert_eq!(scene.service.verifier().verify(&token).err(), Some(stale(30)));
}

#[test]
fn measures_age_by_wall_clock_after_suspend() {
    let scene = Scene::new();
    let token = scene.issuer.token(&["a:b:c"]);
    scene.issuer.clock().set(at(START + 25));
    assert_eq!(scene.service.verifier().verify(&token).err(), Some(stale(30)));
}

/// A clock that falls behind by more than was allowed for: wall clocks alone would be fooled.
#[test]
fn adds_delay_relative_to_earlier_response_to_age() {
    let mut scene = Scene::new();
    scene.pass(10);
    let held = scene.issuer.feed_response(scene.service.feed().since());
    scene.pass(18);
    // By this clock the response took no time.
    scene.issuer.clock().set(at(START + 10));
    scene.service.deliver(&held).unwrap();
    assert!(scene.service.verifier().is_ready());
    scene.pass(14);
    assert!(scene.service.verifier().is_ready());
    // The response was issued 10 s after the first one and arrived 28 s after it.
    scene.pass(1);
    assert!(matches!(scene.service.verifier().ready(), Err(VerifyError::StaleRevocations { .. })));
}

#[test]
fn relies_on_response_until_its_exp() {
    let mut scene = Scene::with(Staleness::at_most(Duration::from_secs(3600)));
    scene.pass(54);
    assert!(scene.service.verifier().is_ready());
    scene.pass(1);
    let expected = VerifyError::StaleRevocations { age: Duration::from_secs(60), max: Duration::from_secs(60) };
    assert_eq!(scene.service.verifier().ready(), Err(expected));
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.service.verifier().is_ready());
    assert_eq!(scene.service.feed().wait(), Duration::from_secs(18), "a third of what the leeway leaves of 60 s");
}

#[test]
fn accepts_stale_list_when_configured() {
    let mut scene = Scene::with(Staleness::default().accept_stale());
    let (token, revoked) = (scene.issuer.token(&["a:b:c"]), scene.issuer.claims(&["a:b:c"]));
    let late = {
        scene.issuer.revoke(Level::Token, &revoked.jti.to_string());
        scene.issuer.feed_response(scene.service.feed().since())
    };
    scene.pass(200);
    assert!(scene.service.verifier().verify(&token).is_ok());
    scene.service.deliver(&late).unwrap();
    let error = scene.service.verifier().verify(&scene.issuer.sign(&revoked)).unwrap_err();
    assert!(matches!(error, VerifyError::Revoked { level: Level::Token, .. }), "late is better than never");
}

#[test]
fn rejects_bound_too_short_for_leeway() {
    let bound = |seconds, leeway| {
        let staleness = Staleness::at_most(Duration::from_secs(seconds)).leeway(Duration::from_secs(leeway));
        staleness.check().map_err(|error| error.to_string())
    };
    assert_eq!(bound(18, 5), Ok(()));
    assert_eq!(bound(3, 0), Ok(()));
    let advice = "a `max_staleness` of 17 s is too short: with a clock leeway of 5 s set at least 18 s, or \
                  `accept_stale_revocations`";
    assert_eq!(bound(17, 5), Err(advice.into()));
    assert!(Staleness::at_most(Duration::ZERO).accept_stale().check().is_ok());
    assert!(Staleness::default().check().is_ok());
}

/// The broker omits an entry once its tokens have expired by its own clock. A verifier whose clock is behind would
/// otherwise accept them.
#[test]
fn slow_clock_revives_no_revoked_token() {
    let issuer = TestIssuer::new();
    let slow = ManualClock::new(at(START - 5));
    let mut service = TestFollower::with_clock(&issuer, Staleness::default(), slow.clone());
    let claims = issuer.claims(&["a:b:c"]);
    let token = issuer.sign(&claims);
    issuer.revoke_until(Level::Token, &claims.jti.to_string(), at(claims.exp));
    for _ in 0..10 {
        service.poll(&issuer).unwrap();
        assert!(matches!(service.verifier().verify(&token), Err(VerifyError::Revoked { .. })));
        issuer.clock().advance(Duration::from_secs(30));
        slow.advance(Duration::from_secs(30));
    }
    assert!(slow.now().seconds() < claims.exp, "it has not expired for this clock");
    let mut newcomer = TestFollower::with_clock(&issuer, Staleness::default(), slow.clone());
    newcomer.poll(&issuer).unwrap();
    service.poll(&issuer).unwrap();
    for service in [&service, &newcomer] {
        assert_eq!(service.feed().list().len(), 0, "the entry is no longer needed");
        assert!(matches!(service.verifier().verify(&token), Err(VerifyError::Expired { .. })));
    }
}

#[test]
fn from_snapshot_reads_snapshot_file() {
    let issuer = TestIssuer::new();
    let claims = issuer.claims(&["a:b:c"]);
    issuer.revoke(Level::Session, &claims.sid.to_string());
    let load = |text: &str, name: &str, staleness: Staleness, clock: &dyn agentwrit_verify::Clock| {
        RevocationList::from_snapshot(text, name, &issuer.key_set(), staleness, clock)
    };
    let snapshot = issuer.feed_response(None);
    let list = load(&snapshot, TestIssuer::ISSUER, Staleness::default(), issuer.clock()).unwrap();
    let builder = agentwrit_verify::Verifier::builder().issuer(TestIssuer::ISSUER).keys(issuer.key_set());
    let verifier = builder.revocations(list).clock(issuer.clock().clone()).build();
    assert!(matches!(verifier.verify(&issuer.sign(&claims)), Err(VerifyError::Revoked { .. })));
    assert!(verifier.verify(&issuer.token(&["a:b:c"])).is_ok());
    issuer.clock().advance(Duration::from_secs(25));
    assert_eq!(verifier.ready().err(), Some(stale(30)));

    let delta = load(&issuer.feed_response(Some(1)), TestIssuer::ISSUER, Staleness::default(), issuer.clock());
    assert_eq!(delta.err(), Some(FeedError::Gap { from: 1, cursor: 0 }));
    let foreign = load(&snapshot, "https://other.test", Staleness::default(), issuer.clock());
    assert_eq!(foreign.err(), Some(FeedError::WrongIssuer { found: TestIssuer::ISSUER.into() }));
    let old = load(&snapshot, TestIssuer::ISSUER, Staleness::default(), &SystemClock);
    assert!(matches!(old, Err(FeedError::Expired { .. })));
    assert!(load(&snapshot, TestIssuer::ISSUER, Staleness::default().accept_stale(), &SystemClock).is_ok());
}

/// A cached token is rejected as soon as it is revoked.
#[test]
fn rejects_cached_token_after_response_revokes_it() {
    type Target = fn(&agentwrit_verify::ClaimSet) -> String;
    let targets: [(Level, Target); 5] = [
        (Level::Token, |claims| claims.jti.to_string()),
        (Level::Session, |claims| claims.delegation_chain[0].sid.to_string()),
        (Level::Agent, |claims| claims.delegation_chain[1].agent.to_string()),
        (Level::Task, |claims| claims.task_id.as_ref().unwrap().to_string()),
        (Level::Chain, |claims| claims.delegation_chain[0].agent.to_string()),
    ];
    for (level, target) in targets {
        let issuer = TestIssuer::new();
        let mut service = TestFollower::of(&issuer, Staleness::default());
        service.poll(&issuer).unwrap();
        let root = issuer.claims(&["a:b:c"]);
        let claims = issuer.delegated(&issuer.delegated(&root, &["a:b:c"]), &["a:b:c"]);
        let token = issuer.sign(&claims);
        assert!((0..3).all(|_| service.verifier().verify(&token).is_ok()));
        assert_eq!(service.verifier().cached_tokens(), 1);
        issuer.revoke(level, &target(&claims));
        service.poll(&issuer).unwrap();
        let error = service.verifier().verify(&token).unwrap_err();
        assert!(matches!(error, VerifyError::Revoked { level: by, .. } if by == level), "{error:?}");
        assert_eq!(service.verifier().cached_tokens(), 0);
    }
}

#[test]
fn rejects_cached_token_after_key_removal_and_expiry() {
    let mut issuer = TestIssuer::new();
    let mut service = TestFollower::of(&issuer, Staleness::default());
    service.poll(&issuer).unwrap();
    let token = issuer.token(&["a:b:c"]);
    issuer.rotate_key([8; 32]);
    service.fetch_keys(&issuer);
    service.poll(&issuer).unwrap();
    let other = issuer.token(&["a:b:c"]);
    assert!((0..3).all(|_| service.verifier().verify(&token).is_ok() && service.verifier().verify(&other).is_ok()));
    assert_eq!(service.verifier().cached_tokens(), 2);
    issuer.withdraw_retired_keys();
    service.poll(&issuer).unwrap();
    assert!(matches!(service.verifier().verify(&token), Err(VerifyError::UnknownKey { .. })));
    assert!(service.verifier().verify(&other).is_ok());
    issuer.clock().advance(Duration::from_secs(300));
    service.poll(&issuer).unwrap();
    assert!(matches!(service.verifier().verify(&other), Err(VerifyError::Expired { .. })));
}

#[test]
fn keeps_token_cached_while_list_is_stale() {
    let mut scene = Scene::new();
    let token = scene.issuer.token(&["a:b:c"]);
    assert!((0..3).all(|_| scene.service.verifier().verify(&token).is_ok()));
    scene.pass(25);
    assert!(scene.service.verifier().verify(&token).unwrap_err().is_unavailable());
    assert_eq!(scene.service.verifier().cached_tokens(), 1);
    scene.service.poll(&scene.issuer).unwrap();
    let anew = scene.service.verifier().status().cache_misses;
    assert!(scene.service.verifier().verify(&token).is_ok());
    assert_eq!(scene.service.verifier().status().cache_misses, anew);
}

/// `tests/vectors/revocation-feed.json`, which was made without any of our code.
#[test]
fn applies_published_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/revocation-feed.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let issuer = text(&vectors["issuer"]);
    for key in vectors["keys"].as_array().unwrap() {
        let level = [Level::Token, Level::Session, Level::Agent, Level::Task, Level::Chain]
            .into_iter()
            .find(|level| level.as_str() == key["level"])
            .unwrap();
        assert_eq!(key["letter"], level.letter().to_string());
        let found = agentwrit_verify::RevocationKey::of(level, &issuer, &text(&key["target"]));
        assert_eq!(encode(found.as_bytes()), text(&key["key"]), "{level}");
    }
    let keys = agentwrit_verify::KeySet::from_jwks(vectors["jwks"].to_string().as_bytes()).unwrap();
    let mut feed = Feed::new(&issuer, Staleness::default());
    let mut entries = Vec::new();
    for response in vectors["responses"].as_array().unwrap() {
        let since = feed.since().map_or(String::new(), |since| format!("?since={since}"));
        assert_eq!(response["request"], format!("GET /v1/revocations{since}"));
        let wall = at(response["payload"]["iat"].as_u64().unwrap());
        let moment = ClockReading { wall, monotonic: std::time::Instant::now() };
        feed.apply(&text(&response["jws"]), &keys, moment).unwrap();
        entries.push(feed.list().len());
    }
    assert_eq!(entries, [7, 7, 7], "the delta repeats one of the snapshot's");
}

/// A signed response from the future proves that this clock is behind by more than the leeway, so every age that it
/// measures is too small.
#[test]
fn marks_list_stale_after_response_from_the_future() {
    let (issuer, own) = (TestIssuer::new(), ManualClock::new(at(START)));
    let mut service = TestFollower::with_clock(&issuer, Staleness::default(), own.clone());
    service.poll(&issuer).unwrap();
    assert!(service.verifier().is_ready());
    issuer.clock().advance(Duration::from_secs(6));
    assert_eq!(service.poll(&issuer), Err(FeedError::IssuedAhead { by: Duration::from_secs(1) }));
    let stale = service.verifier().ready();
    assert!(matches!(stale, Err(VerifyError::StaleRevocations { .. })), "{stale:?}");
    own.advance(Duration::from_secs(6));
    service.poll(&issuer).unwrap();
    assert!(service.verifier().is_ready(), "and when it is right again");
}

#[test]
fn applies_responses_with_slow_clock_when_stale_lists_are_accepted() {
    let (issuer, slow) = (TestIssuer::new(), ManualClock::new(at(START)));
    let mut service = TestFollower::with_clock(&issuer, Staleness::default().accept_stale(), slow.clone());
    service.poll(&issuer).unwrap();
    let claims = issuer.claims(&["a:b:c"]);
    issuer.clock().advance(Duration::from_secs(60));
    issuer.revoke(Level::Token, &claims.jti.to_string());
    service.poll(&issuer).unwrap();
    let refused = service.verifier().verify(&issuer.sign(&claims)).unwrap_err();
    assert!(matches!(refused, VerifyError::Revoked { .. }), "{refused}");
}

/// The header is parsed before the signature is verified.
#[test]
fn rejects_long_header_of_response() {
    let scene = Scene::new();
    let header = format!(r#"{{"alg":"EdDSA","typ":"{}","x":"{}"}}"#, Feed::MEDIA_TYPE, "y".repeat(8192));
    let response = signed_by(scene.issuer.signing_key(), header, scene.payload().to_string());
    let header_length = response.find('.').unwrap();
    let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default());
    let refused = feed.apply(&response, &scene.issuer.key_set(), ClockReading::of(scene.issuer.clock()));
    let expected = FeedError::NotSigned(VerifyError::TooLong { length: header_length, limit: 8192 });
    assert_eq!(refused, Err(expected));
}
