//! Keys that the feed announces: dropped when a response omits them, fetched when a response names them first.

use std::time::Duration;

use agentwrit_verify::{
    Clock as _, FeedError, KeySet, VerifyError,
    feed::{ClockReading, Feed, KeyAnnouncement, Staleness},
    testing::{TestFollower, TestIssuer},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::network::Chance;

struct Scene {
    issuer: TestIssuer,
    service: TestFollower,
}

impl Scene {
    fn new() -> Self {
        let issuer = TestIssuer::new();
        let mut service = TestFollower::of(&issuer, Staleness::default());
        service.poll(&issuer).unwrap();
        Self { issuer, service }
    }

    fn token(&self) -> String {
        self.issuer.token(&["a:b:c"])
    }

    fn is_unknown_key(&self, token: &str) -> bool {
        matches!(self.service.verifier().verify(token), Err(VerifyError::UnknownKey { .. }))
    }

    fn is_accepted(&self, token: &str) -> bool {
        self.service.verifier().verify(token).is_ok()
    }
}

/// Returns the payload of the issuer's snapshot.
fn payload(issuer: &TestIssuer) -> Value {
    let response = issuer.feed_response(None);
    let payload = data_encoding::BASE64URL_NOPAD.decode(response.split('.').nth(1).unwrap().as_bytes()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn announces_published_keys_and_active_key() {
    let mut scene = Scene::new();
    let first = scene.issuer.signing_key().id().clone();
    scene.issuer.prepare_key([8; 32]);
    scene.service.poll(&scene.issuer).unwrap();
    let announced = scene.service.feed().announced_keys().unwrap();
    assert_eq!((announced.active(), announced.key_ids().len()), (Some(&first), 2));
    scene.issuer.activate_prepared_key();
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    let announced = scene.service.feed().announced_keys().unwrap();
    assert_eq!(announced.active(), Some(scene.issuer.signing_key().id()));
    assert!(announced.contains(&first));
}

#[test]
fn drops_withdrawn_key_with_response_that_omits_it() {
    let mut scene = Scene::new();
    let token = scene.token();
    assert!((0..3).all(|_| scene.is_accepted(&token)));
    assert_eq!(scene.service.verifier().cached_tokens(), 1);
    let verified = scene.service.verifier().verify_token(&token).unwrap();
    scene.issuer.prepare_key([8; 32]);
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    scene.issuer.activate_prepared_key();
    scene.issuer.withdraw_retired_keys();
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_unknown_key(&token), "cached, and no key set was fetched since the withdrawal");
    assert!(matches!(verified.recheck(), Err(VerifyError::UnknownKey { .. })));
    assert!(scene.is_accepted(&scene.token()));
}

#[test]
fn keeps_withdrawn_key_out_when_fetched_key_set_is_older() {
    let mut scene = Scene::new();
    let token = scene.token();
    scene.issuer.prepare_key([8; 32]);
    let older = scene.issuer.key_set();
    scene.service.fetch_keys(&scene.issuer);
    scene.issuer.activate_prepared_key();
    scene.issuer.withdraw_retired_keys();
    scene.service.poll(&scene.issuer).unwrap();
    scene.service.set_keys(older.clone());
    assert!(scene.is_unknown_key(&token));
    // A restarted service fetches the older set first.
    scene.service = TestFollower::of(&scene.issuer, Staleness::default());
    scene.service.set_keys(older.clone());
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_unknown_key(&token));
    scene.service.set_keys(older);
    assert!(scene.is_unknown_key(&token));
}

#[test]
fn rejects_response_signed_with_dropped_key() {
    let mut scene = Scene::new();
    let thief = scene.issuer.signing_key().clone();
    scene.issuer.prepare_key([8; 32]);
    let older = scene.issuer.key_set();
    scene.service.set_keys(older.clone());
    scene.issuer.activate_prepared_key();
    scene.issuer.withdraw_retired_keys();
    scene.service.poll(&scene.issuer).unwrap();
    scene.service.set_keys(older);
    let mut forged = payload(&scene.issuer);
    forged["iat"] = json!(forged["iat"].as_u64().unwrap() + 4);
    forged["kids"] = json!([thief.id().as_str()]);
    forged["active"] = json!(thief.id().as_str());
    let forged = thief.sign_document(Feed::MEDIA_TYPE, forged.to_string().as_bytes());
    assert!(matches!(scene.service.deliver(&forged), Err(FeedError::UnknownKey { .. })));
}

/// A thief with the withdrawn key, in the path of the feed, signs each response anew and announces the key.
#[test]
fn drops_key_that_later_key_set_lacks_although_its_own_responses_announce_it() {
    let mut scene = Scene::new();
    let (thief, old) = (scene.issuer.signing_key().clone(), scene.token());
    scene.issuer.prepare_key([8; 32]);
    let cached = scene.issuer.key_set();
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    scene.issuer.activate_prepared_key();
    scene.issuer.withdraw_retired_keys();
    let forged = |issuer: &TestIssuer| {
        let mut forged = payload(issuer);
        forged["kids"] = json!([thief.id().as_str(), issuer.signing_key().id().as_str()]);
        forged["active"] = json!(thief.id().as_str());
        thief.sign_document(Feed::MEDIA_TYPE, forged.to_string().as_bytes())
    };
    scene.issuer.clock().advance(Duration::from_secs(1));
    scene.service.deliver(&forged(&scene.issuer)).unwrap();
    assert!(scene.is_accepted(&old), "no key set was fetched since the withdrawal");
    // A response that announces nothing does not make the next announcement a new one.
    scene.issuer.clock().advance(Duration::from_secs(1));
    let mut silent = payload(&scene.issuer);
    silent["kids"] = json!(null);
    silent["active"] = json!(null);
    let silent = thief.sign_document(Feed::MEDIA_TYPE, silent.to_string().as_bytes());
    scene.service.deliver(&silent).unwrap();
    scene.service.deliver(&forged(&scene.issuer)).unwrap();
    scene.service.fetch_keys(&scene.issuer);
    assert!(scene.is_unknown_key(&old));
    assert!(scene.is_accepted(&scene.token()));
    // A set of unknown age, or one from before, does not bring it back, fresh or stale.
    for seconds in [1, 31] {
        scene.issuer.clock().advance(Duration::from_secs(seconds));
        scene.service.set_keys(cached.clone());
        let before = scene.issuer.clock().monotonic().checked_sub(Duration::from_secs(60)).unwrap();
        scene.service.set_keys_as_of(cached.clone(), before);
        let refused = scene.service.deliver(&forged(&scene.issuer));
        assert!(matches!(refused, Err(FeedError::UnknownKey { .. })), "{refused:?}");
    }
    let stale = scene.service.verifier().verify(&scene.token());
    assert!(matches!(stale, Err(VerifyError::StaleRevocations { .. })), "{stale:?}");
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_accepted(&scene.token()) && scene.is_unknown_key(&old));
}

/// Scene in which a response omitted the retiring key after its withdrawal, with a token of that key and the key set from
/// before.
fn scene_after_withdrawal(staleness: Staleness) -> (Scene, String, KeySet) {
    let issuer = TestIssuer::new();
    let service = TestFollower::of(&issuer, staleness);
    let mut scene = Scene { issuer, service };
    let old = scene.token();
    scene.issuer.prepare_key([8; 32]);
    let cached = scene.issuer.key_set();
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    scene.issuer.activate_prepared_key();
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_accepted(&old));
    scene.issuer.clock().advance(Duration::from_secs(1));
    scene.issuer.withdraw_retired_keys();
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_unknown_key(&old));
    (scene, old, cached)
}

#[test]
fn keeps_withdrawn_key_out_when_stale_list_is_accepted_and_cache_holds_old_key_set() {
    let (mut scene, old, cached) = scene_after_withdrawal(Staleness::default().accept_stale());
    let sent = scene.issuer.clock().monotonic();
    // The feed is away. The second of two sets comes from a cache that does not tell its age.
    for seconds in [29, 10, 300] {
        scene.issuer.clock().advance(Duration::from_secs(seconds));
        for as_of in [None, sent.checked_sub(Duration::from_secs(1)), Some(scene.issuer.clock().monotonic())] {
            match as_of {
                Some(as_of) => scene.service.set_keys_as_of(cached.clone(), as_of),
                None => scene.service.set_keys(cached.clone()),
            }
            assert!(scene.is_unknown_key(&old), "after {seconds} s more, with a set as of {as_of:?}");
            assert!(scene.is_accepted(&scene.token()));
        }
    }
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_unknown_key(&old) && scene.is_accepted(&scene.token()));
}

#[test]
fn rejects_response_of_withdrawn_key_when_list_is_stale_and_cache_holds_old_key_set() {
    let (mut scene, old, cached) = scene_after_withdrawal(Staleness::default());
    let thief = cached.iter().next().unwrap().id().clone();
    let signer = TestIssuer::new().signing_key().clone();
    assert_eq!(signer.id(), &thief);
    let before = scene.issuer.clock().monotonic().checked_sub(Duration::from_secs(1)).unwrap();
    scene.issuer.clock().advance(Duration::from_secs(31));
    scene.service.set_keys(cached.clone());
    scene.service.set_keys_as_of(cached, before);
    let mut forged = payload(&scene.issuer);
    forged["kids"] = json!([thief.as_str()]);
    forged["active"] = json!(thief.as_str());
    let forged = signer.sign_document(Feed::MEDIA_TYPE, forged.to_string().as_bytes());
    let rejected = scene.service.deliver(&forged);
    assert!(matches!(rejected, Err(FeedError::UnknownKey { .. })), "{rejected:?}");
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_unknown_key(&old) && scene.is_accepted(&scene.token()));
}

/// A thief with the retiring key omits the active one.
#[test]
fn omitted_key_comes_back_with_later_key_set_and_response_that_announces_it() {
    let mut scene = Scene::new();
    let thief = scene.issuer.signing_key().clone();
    scene.issuer.prepare_key([8; 32]);
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    scene.issuer.activate_prepared_key();
    let mut forged = payload(&scene.issuer);
    forged["kids"] = json!([thief.id().as_str()]);
    forged["active"] = json!(thief.id().as_str());
    scene.service.deliver(&thief.sign_document(Feed::MEDIA_TYPE, forged.to_string().as_bytes())).unwrap();
    assert!(scene.is_unknown_key(&scene.token()));
    scene.issuer.withdraw_retired_keys();
    scene.issuer.clock().advance(Duration::from_secs(31));
    assert!(matches!(scene.service.poll(&scene.issuer), Err(FeedError::UnknownKey { .. })));
    scene.service.fetch_keys(&scene.issuer);
    assert!(!scene.is_accepted(&scene.token()), "a response announces it first");
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_accepted(&scene.token()));
}

#[test]
fn key_comes_back_with_key_set_that_is_later_than_one_that_lacked_it() {
    let mut scene = Scene::new();
    let lacks = scene.issuer.key_set();
    scene.issuer.prepare_key([8; 32]);
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    scene.issuer.activate_prepared_key();
    scene.issuer.clock().advance(Duration::from_secs(1));
    scene.service.set_keys_as_of(lacks, scene.issuer.clock().monotonic());
    assert!(scene.is_unknown_key(&scene.token()));
    assert!(scene.service.misses_announced_key(), "the set is fetched again");
    scene.issuer.clock().advance(Duration::from_secs(1));
    scene.service.fetch_keys(&scene.issuer);
    assert!(scene.is_accepted(&scene.token()));
}

#[test]
fn keeps_announced_key_when_key_set_is_from_before_announcement() {
    let mut scene = Scene::new();
    let (older, before) = (scene.issuer.key_set(), scene.issuer.clock().monotonic());
    scene.issuer.clock().advance(Duration::from_secs(1));
    scene.issuer.prepare_key([8; 32]);
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    scene.issuer.clock().advance(Duration::from_secs(1));
    scene.service.set_keys_as_of(older, before);
    scene.issuer.activate_prepared_key();
    assert!(scene.is_accepted(&scene.token()));
}

#[test]
fn keeps_announced_key_when_fetched_key_set_is_older() {
    let mut scene = Scene::new();
    let older = scene.issuer.key_set();
    scene.issuer.prepare_key([8; 32]);
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    scene.service.set_keys(older);
    scene.issuer.activate_prepared_key();
    assert!(scene.is_accepted(&scene.token()));
}

#[test]
fn reports_missing_key_until_key_set_contains_it() {
    let mut scene = Scene::new();
    scene.issuer.prepare_key([8; 32]);
    assert!(scene.service.poll(&scene.issuer).unwrap().keys_missing);
    assert!(scene.service.poll(&scene.issuer).unwrap().keys_missing);
    scene.service.fetch_keys(&scene.issuer);
    assert!(!scene.service.poll(&scene.issuer).unwrap().keys_missing);
    let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default());
    let (one, now) = (TestIssuer::new().key_set(), ClockReading::of(scene.issuer.clock()));
    assert!(feed.apply(&scene.issuer.feed_response(None), &one, now).unwrap().keys_missing);
}

/// The active key was withdrawn without a prepared successor.
#[test]
fn accepts_first_response_of_new_key_and_its_tokens_only_later() {
    let mut scene = Scene::new();
    let old = scene.token();
    scene.issuer.rotate_key([8; 32]);
    scene.issuer.withdraw_retired_keys();
    let new = scene.token();
    assert!(matches!(scene.service.poll(&scene.issuer), Err(FeedError::UnknownKey { .. })));
    scene.service.fetch_keys(&scene.issuer);
    assert!(scene.is_unknown_key(&new), "the newest response does not announce the key yet");
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_accepted(&new));
    assert!(scene.is_unknown_key(&old));
}

#[test]
fn recovers_from_late_response_that_omits_new_key() {
    let mut scene = Scene::new();
    // On its way while the key is prepared and the set fetched by a service without announcements so far.
    let late = scene.issuer.feed_response(None);
    scene.service = TestFollower::of(&scene.issuer, Staleness::default());
    scene.issuer.prepare_key([8; 32]);
    scene.service.fetch_keys(&scene.issuer);
    scene.service.deliver(&late).unwrap();
    // The service is suspended until the key signs.
    scene.issuer.activate_prepared_key();
    assert!(matches!(scene.service.poll(&scene.issuer), Err(FeedError::UnknownKey { .. })));
    scene.issuer.clock().advance(Duration::from_secs(31));
    scene.service.fetch_keys(&scene.issuer);
    scene.service.poll(&scene.issuer).unwrap();
    assert!(scene.is_accepted(&scene.token()));
}

#[test]
fn trusts_fetched_keys_when_broker_announces_none() {
    let mut scene = Scene::new();
    scene.issuer.announce_no_keys();
    let token = scene.token();
    scene.issuer.rotate_key([8; 32]);
    let both = scene.issuer.key_set();
    scene.service.set_keys(both);
    scene.issuer.withdraw_retired_keys();
    assert!(!scene.service.poll(&scene.issuer).unwrap().keys_missing);
    assert!(scene.is_accepted(&token), "until the next fetch");
    scene.service.fetch_keys(&scene.issuer);
    assert!(scene.is_unknown_key(&token));
}

#[test]
fn rejects_malformed_announcements() {
    let scene = Scene::new();
    let key = scene.issuer.signing_key();
    let own = key.id().as_str();
    let rule = "`kids` is 1 to 64 different key ids, and `active` is one of them";
    let many: Vec<String> = (0..64).map(|n| format!("key-{n}")).chain([own.to_owned()]).collect();
    for (kids, active, expected) in [
        (json!([own]), json!(own), Ok(())),
        (json!([own, "other"]), json!(null), Ok(())),
        (json!(null), json!(null), Ok(())),
        (json!([]), json!(null), Err(rule)),
        (json!([own, own]), json!(own), Err(rule)),
        (json!([own, ""]), json!(own), Err(rule)),
        (json!([own]), json!("other"), Err(rule)),
        (json!([own]), json!("a b"), Err(rule)),
        (json!(many), json!(own), Err(rule)),
        (json!([own, "other"]), json!("other"), Err("`active` is not the key that signed")),
        (json!(["other"]), json!("other"), Err("`kids` omits the key that signed")),
    ] {
        let mut payload = payload(&scene.issuer);
        payload["kids"].clone_from(&kids);
        payload["active"] = active;
        let response = key.sign_document(Feed::MEDIA_TYPE, payload.to_string().as_bytes());
        let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default());
        let now = ClockReading::of(scene.issuer.clock());
        let applied = feed.apply(&response, &scene.issuer.key_set(), now).map(drop);
        let expected = expected.map_err(|message: &str| FeedError::Malformed { message: message.to_owned() });
        assert_eq!(applied, expected, "{kids}");
    }
    for wrong in [json!("text"), json!([1]), json!({})] {
        let mut payload = payload(&scene.issuer);
        payload["kids"].clone_from(&wrong);
        let response = key.sign_document(Feed::MEDIA_TYPE, payload.to_string().as_bytes());
        let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default());
        let refused = feed.apply(&response, &scene.issuer.key_set(), ClockReading::of(scene.issuer.clock()));
        assert!(matches!(refused, Err(FeedError::Malformed { .. })), "{wrong}");
    }
}

/// The members that version 0.1 of this library decodes, by the same decoder.
#[test]
fn decoder_of_previous_version_ignores_announcement() {
    #[derive(Deserialize)]
    struct PreviousResponse {
        iss: String,
        epoch: String,
        to: u64,
        entries: Vec<(String, String, u64, u64)>,
    }
    let scene = Scene::new();
    let text = payload(&scene.issuer).to_string();
    assert!(text.contains(r#""kids":["#), "{text}");
    let response: PreviousResponse = agentwrit_json::object_from_slice(text.as_bytes(), 16).unwrap();
    assert_eq!((&*response.iss, &*response.epoch, response.to), (TestIssuer::ISSUER, "epoch-0", 0));
    assert!(response.entries.is_empty());
}

#[test]
fn announcement_names_active_key_of_set_only() {
    let (one, other) = (TestIssuer::new(), TestIssuer::with_seed([8; 32]));
    let set = KeySet::new([one.signing_key().public_key().clone()]).unwrap();
    assert!(KeyAnnouncement::of(&set, one.signing_key().id()).is_some());
    assert_eq!(KeyAnnouncement::of(&set, other.signing_key().id()), None);
}

/// Planned rotations behind a cache that holds key sets for five minutes, with lost responses and restarts.
#[test]
fn refuses_no_good_token_in_1000_rotations() {
    let mut chance = Chance::new(11);
    let mut issuer = TestIssuer::new();
    let mut cached = issuer.key_set();
    let mut service = TestFollower::of(&issuer, Staleness::default());
    service.poll(&issuer).unwrap();
    let (mut accepted, mut unavailable, mut withdrawn_accepted) = (0, 0, 0);
    for rotation in 0_u32..1_000 {
        let seed: [u8; 32] = std::array::from_fn(|index| rotation.to_be_bytes()[index % 4] ^ 0x5a);
        issuer.prepare_key(seed);
        let mut old_token = String::new();
        for step in 0..12 {
            issuer.clock().advance(Duration::from_secs(5));
            if chance.percent(5) {
                service = TestFollower::of(&issuer, Staleness::default());
                service.set_keys(cached.clone());
            }
            if step == 8 {
                old_token = issuer.token(&["a:b:c"]);
                issuer.activate_prepared_key();
            }
            if !chance.percent(20) && matches!(service.poll(&issuer), Err(FeedError::UnknownKey { .. }))
                || service.misses_announced_key()
            {
                // The follower asks past the cache, which then holds the answer.
                if !chance.percent(20) {
                    cached = issuer.key_set();
                    service.set_keys(cached.clone());
                }
            } else if chance.percent(10) {
                service.set_keys(cached.clone());
            }
            match service.verifier().verify(&issuer.token(&["a:b:c"])) {
                Ok(_) => accepted += 1,
                Err(error) if error.is_unavailable() => unavailable += 1,
                Err(error) => panic!("rotation {rotation}, step {step}: {error}"),
            }
        }
        issuer.withdraw_retired_keys();
        let response = issuer.feed_response(service.feed().since());
        if service.deliver(&response).is_ok() {
            withdrawn_accepted += u32::from(service.verifier().verify(&old_token).is_ok());
        }
    }
    assert_eq!(withdrawn_accepted, 0);
    assert!(accepted > 10_000 && unavailable < 1_500, "{accepted} accepted, {unavailable} unavailable");
}
