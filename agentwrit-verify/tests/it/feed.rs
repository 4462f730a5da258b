//! The revocation feed, answer by answer: what is applied and what is refused.

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

    /// An honest answer to what the service asks.
    fn payload(&self) -> Value {
        self.payload_since(self.service.feed().since())
    }

    fn payload_since(&self, since: Option<u64>) -> Value {
        let answer = self.issuer.feed_response(since);
        let payload = answer.split('.').nth(1).unwrap();
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
    }

    fn signed(&self, payload: &Value) -> String {
        self.issuer.signing_key().sign_document(Feed::MEDIA_TYPE, payload.to_string().as_bytes())
    }

    /// Delivers the honest answer with members changed.
    fn deliver(&mut self, changes: &[(&str, Value)]) -> Result<(), FeedError> {
        let mut payload = self.payload();
        for (member, value) in changes {
            payload[*member] = value.clone();
        }
        let answer = self.signed(&payload);
        self.service.deliver(&answer).map(drop)
    }

    /// Delivers what must be refused, and sees that nothing changed.
    #[track_caller]
    fn refuses(&mut self, answer: &str) -> FeedError {
        let (before, entries) = (self.service.verifier().status(), self.service.feed().list().len());
        let error = self.service.deliver(answer).unwrap_err();
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
        let answer = self.signed(&payload);
        self.refuses(&answer)
    }
}

fn stale(age: u64) -> VerifyError {
    VerifyError::StaleRevocations { age: Duration::from_secs(age), max: Duration::from_secs(30) }
}

#[test]
fn what_is_not_signed_by_a_trusted_key_as_an_answer() {
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
    let stranger = SigningKey::from_seed(&[99; 32]).unwrap();
    assert_eq!(scene.refuses(&signed_by(&stranger, header(&[]), &honest)), FeedError::BadSignature);
    let unknown = scene.refuses(&stranger.sign_document(Feed::MEDIA_TYPE, honest.as_bytes()));
    assert_eq!(unknown, FeedError::UnknownKey { kid: Some(stranger.id().to_string()) });
    assert!(unknown.needs_keys() && !unknown.needs_snapshot());

    for typ in ["JWT", "at+jwt", "application/agentwrit-revocations+jwt", "AgentWrit-Revocations+JWT", ""] {
        let error = scene.refuses(&signed_by(&key, header(&[("typ", typ.into())]), &honest));
        assert_eq!(error, FeedError::UnexpectedType { found: typ.into() });
    }
    let untyped = json!({"alg": "EdDSA", "kid": key.id().as_str()}).to_string();
    let error = scene.refuses(&signed_by(&key, untyped, &honest));
    assert_eq!(error, FeedError::UnexpectedType { found: String::new() });

    let critical = scene.refuses(&signed_by(&key, header(&[("crit", json!(["x"]))]), &honest));
    assert_eq!(critical, FeedError::NotSigned(VerifyError::CriticalHeader));
    let unsigned = scene.refuses(&format!("{}.{}.", encode(header(&[("alg", "none".into())])), encode(&honest)));
    assert_eq!(unsigned, FeedError::NotSigned(VerifyError::UnsupportedAlgorithm { algorithm: "none".into() }));
    let not_three = scene.refuses("no");
    assert_eq!(not_three, FeedError::NotSigned(TokenFormatError::NotThreeParts.into()));
}

#[test]
fn a_token_is_no_answer_and_an_answer_no_token() {
    let mut scene = Scene::new();
    let token = scene.issuer.token(&["read:data:*"]);
    assert_eq!(scene.refuses(&token), FeedError::UnexpectedType { found: "JWT".into() });
    let claims = serde_json::to_vec(&scene.issuer.claims(&["read:data:*"])).unwrap();
    let dressed = scene.issuer.signing_key().sign_document(Feed::MEDIA_TYPE, &claims);
    assert!(matches!(scene.refuses(&dressed), FeedError::Malformed { .. }));
    let expected = VerifyError::UnexpectedType { found: Feed::MEDIA_TYPE.into() };
    assert_eq!(scene.issuer.verifier().verify(&dressed), Err(expected.clone()));
    assert_eq!(scene.issuer.verifier().verify(&scene.issuer.feed_response(None)), Err(expected));
}

#[test]
fn what_a_broker_does_not_write() {
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
    assert!(matches!(scene.refuses(&twice), FeedError::Malformed { .. }));
    scene.deliver(&[("entries", json!([entry])), ("unknown", json!(1))]).unwrap();
}

#[test]
fn a_foreign_issuer() {
    let expected = FeedError::WrongIssuer { found: "https://other.test".into() };
    assert_eq!(Scene::new().refuses_with(&[("iss", json!("https://other.test"))]), expected);
}

#[test]
fn an_answer_over_the_limit() {
    let issuer = TestIssuer::new();
    let answer = issuer.feed_response(None);
    let (length, limit) = (answer.len(), answer.len() - 1);
    let apply = |limit| {
        let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default()).max_response_length(limit);
        feed.apply(&answer, &issuer.key_set(), ClockReading::of(issuer.clock())).map(drop)
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
    // Only that the list doesn't count until an answer is accepted: see `a_clock_that_turns_out_to_be_behind…`.
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
fn the_log_of_an_epoch_neither_goes_back_nor_has_gaps() {
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

    // An overlap tells again what is known.
    let overlap = scene.signed(&scene.payload_since(Some(1)));
    let applied = scene.service.deliver(&overlap).unwrap();
    assert_eq!((applied.changed, applied.snapshot, applied.entries), (false, false, 2));
    assert_eq!(scene.service.feed().list().len(), 3);
}

#[test]
fn the_first_answer_must_be_a_snapshot() {
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
fn a_new_epoch_replaces_everything() {
    let mut scene = Scene::new();
    let token = scene.issuer.token(&["a:b:c"]);
    assert!(scene.service.verifier().verify(&token).is_ok());
    scene.pass(1);
    scene.issuer.restore_backup(0);
    let other_log = scene.issuer.feed_response(Some(1));
    assert_eq!(scene.refuses(&other_log), FeedError::NewEpoch);
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
fn an_epoch_that_was_left_does_not_come_back() {
    let mut scene = Scene::new();
    let old = scene.issuer.feed_response(None);
    scene.issuer.restore_backup(1);
    let same_second = FeedError::Replayed { issued_at: at(START), accepted: at(START) };
    assert_eq!(scene.service.poll(&scene.issuer), Err(FeedError::NewEpoch));
    assert_eq!(scene.service.poll(&scene.issuer), Err(same_second.clone()), "which of the two is the newer log?");
    scene.pass(1);
    scene.service.poll(&scene.issuer).unwrap();
    let replayed = FeedError::Replayed { issued_at: at(START), accepted: at(START + 1) };
    assert_eq!(scene.refuses(&old), replayed);
}

#[test]
fn age_is_measured_from_what_is_signed() {
    let mut scene = Scene::new();
    let token = scene.issuer.token(&["a:b:c"]);
    // 24 s later, and 5 s that the clock may be behind.
    scene.pass(24);
    assert!(scene.service.verifier().verify(&token).is_ok());
    scene.pass(1);
    assert_eq!(scene.service.verifier().verify(&token).err(), Some(stale(30)));
    // An answer that was a long time coming makes the list no younger than it says.
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
fn a_wall_clock_that_stands_still_or_goes_back_is_not_believed() {
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
fn a_machine_that_slept_is_judged_by_the_wall_clock() {
    let scene = Scene::new();
    let token = scene.issuer.token(&["a:b:c"]);
    scene.issuer.clock().set(at(START + 25));
    assert_eq!(scene.service.verifier().verify(&token).err(), Some(stale(30)));
}

/// A clock that falls behind by more than was allowed for: wall clocks alone would be fooled.
#[test]
fn an_answer_that_is_late_by_comparison_is_as_old_as_it_is_late() {
    let mut scene = Scene::new();
    scene.pass(10);
    let held = scene.issuer.feed_response(scene.service.feed().since());
    scene.pass(18);
    // By this clock the answer was not on its way at all.
    scene.issuer.clock().set(at(START + 10));
    scene.service.deliver(&held).unwrap();
    assert!(scene.service.verifier().is_ready());
    scene.pass(14);
    assert!(scene.service.verifier().is_ready());
    // Compared with the first answer it was issued 10 s later and came 28 s later.
    scene.pass(1);
    assert!(matches!(scene.service.verifier().ready(), Err(VerifyError::StaleRevocations { .. })));
}

#[test]
fn an_answer_counts_until_it_expires_at_most() {
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
fn stale_revocations_can_be_accepted() {
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
fn a_bound_that_cannot_be_kept_is_refused() {
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

/// The broker leaves an entry out once its tokens have expired by its own clock. A clock that is behind would still
/// take those for alive.
#[test]
fn a_slow_clock_revives_nobody() {
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
        assert_eq!(service.feed().list().len(), 0, "nobody needs the entry any more");
        assert!(matches!(service.verifier().verify(&token), Err(VerifyError::Expired { .. })));
    }
}

#[test]
fn a_snapshot_file_is_a_list() {
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

/// Seen before, cached, and dead at once.
#[test]
fn a_cached_token_dies_with_the_answer_that_revokes_it() {
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
fn a_cached_token_dies_with_its_key_and_with_its_time() {
    let mut issuer = TestIssuer::new();
    let mut service = TestFollower::of(&issuer, Staleness::default());
    service.poll(&issuer).unwrap();
    let token = issuer.token(&["a:b:c"]);
    issuer.rotate_key([8; 32]);
    service.fetch_keys(&issuer);
    let other = issuer.token(&["a:b:c"]);
    assert!((0..3).all(|_| service.verifier().verify(&token).is_ok() && service.verifier().verify(&other).is_ok()));
    assert_eq!(service.verifier().cached_tokens(), 2);
    issuer.withdraw_retired_keys();
    service.fetch_keys(&issuer);
    assert!(matches!(service.verifier().verify(&token), Err(VerifyError::UnknownKey { .. })));
    assert!(service.verifier().verify(&other).is_ok());
    issuer.clock().advance(Duration::from_secs(300));
    service.poll(&issuer).unwrap();
    assert!(matches!(service.verifier().verify(&other), Err(VerifyError::Expired { .. })));
}

#[test]
fn a_token_stays_cached_while_the_list_is_stale() {
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
fn the_published_vectors() {
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
    for answer in vectors["answers"].as_array().unwrap() {
        let since = feed.since().map_or(String::new(), |since| format!("?since={since}"));
        assert_eq!(answer["asked"], format!("GET /v1/revocations{since}"));
        let wall = at(answer["payload"]["iat"].as_u64().unwrap());
        let moment = ClockReading { wall, monotonic: std::time::Instant::now() };
        feed.apply(&text(&answer["jws"]), &keys, moment).unwrap();
        entries.push(feed.list().len());
    }
    assert_eq!(entries, [7, 7, 7], "the delta repeats one of the snapshot's");
}

/// A signed answer from the future proves that this clock is behind by more than the leeway: whatever it says of the
/// list's age is too little.
#[test]
fn a_clock_that_turns_out_to_be_behind_is_not_believed() {
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
fn whoever_accepts_stale_lists_hears_of_revocations_with_a_slow_clock_too() {
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

/// Nobody has looked at the signature when the header is read.
#[test]
fn the_header_of_an_answer_is_short_however_long_the_answer_may_be() {
    let scene = Scene::new();
    let header = format!(r#"{{"alg":"EdDSA","typ":"{}","x":"{}"}}"#, Feed::MEDIA_TYPE, "y".repeat(8192));
    let answer = signed_by(scene.issuer.signing_key(), header, scene.payload().to_string());
    let header_length = answer.find('.').unwrap();
    let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default());
    let refused = feed.apply(&answer, &scene.issuer.key_set(), ClockReading::of(scene.issuer.clock()));
    let expected = FeedError::NotSigned(VerifyError::TooLong { length: header_length, limit: 8192 });
    assert_eq!(refused, Err(expected));
}
