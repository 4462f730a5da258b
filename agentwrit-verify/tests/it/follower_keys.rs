//! Keys that a follower fetches and drops as the feed announces them, over the loopback interface.

use std::time::Duration;

use agentwrit_verify::{Verifier, VerifyError};

use crate::follower::{Broker, KeyCache, Place, until};

fn is_unknown_key(verifier: &Verifier, token: &str) -> bool {
    matches!(verifier.verify(token), Err(VerifyError::UnknownKey { .. }))
}

impl Broker {
    /// Holds the present key set in a cache in front of the broker.
    fn cache_keys(&self, revalidates: bool) {
        self.with(|model| {
            let key_set = model.issuer.key_set().to_jwks();
            model.key_cache = Some(KeyCache { key_set, revalidates, age: None });
        });
    }

    /// Announces a prepared key.
    fn prepare_key(&self) {
        self.with(|model| model.issuer.prepare_key([8; 32]));
        self.tell();
    }

    /// Activates the prepared key, and announces it without the former one.
    fn withdraw_former_key(&self) {
        self.with(|model| {
            model.issuer.activate_prepared_key();
            model.issuer.withdraw_retired_keys();
        });
        self.tell();
    }
}

/// Waits until the state file holds the announcement of the key that signs now, and of no other.
async fn until_state_has_announcement(broker: &Broker, place: &Place) {
    let announced = format!(r#""kids":["{}"]"#, broker.with(|model| model.issuer.signing_key().id().clone()));
    let state = || String::from_utf8_lossy(&std::fs::read(place.file()).unwrap()).into_owned();
    until("the state", || state().contains(&announced)).await;
}

#[tokio::test]
async fn fetches_prepared_key_past_http_cache_as_soon_as_feed_announces_it() {
    let broker = Broker::start().await;
    broker.cache_keys(true);
    let follower = broker.follower().start().await.unwrap();
    let verifier = follower.verifier().build();
    broker.prepare_key();
    until("the prepared key", || follower.status().keys == 2).await;
    broker.with(|model| model.issuer.activate_prepared_key());
    assert!(verifier.verify(&broker.token()).is_ok(), "no token of the new key is rejected");
    assert_eq!(broker.with(|model| model.key_fetches), 2);
}

#[tokio::test]
async fn repeats_fetch_until_key_set_contains_announced_key() {
    let broker = Broker::start().await;
    broker.cache_keys(false);
    let follower = broker.follower().start().await.unwrap();
    broker.prepare_key();
    until("two fetches", || broker.with(|model| model.key_fetches) == 3).await;
    assert_eq!(follower.status().keys, 1);
    broker.with(|model| model.key_cache = None);
    until("the prepared key", || follower.status().keys == 2).await;
}

#[tokio::test]
async fn rejects_tokens_of_withdrawn_key_when_caches_hold_old_key_set() {
    let broker = Broker::start().await;
    let follower = broker.follower().start().await.unwrap();
    let verifier = follower.verifier().build();
    broker.prepare_key();
    until("the prepared key", || follower.status().keys == 2).await;
    broker.cache_keys(false);
    let token = broker.token();
    assert!((0..3).all(|_| verifier.verify(&token).is_ok()));
    broker.withdraw_former_key();
    until("the withdrawal", || is_unknown_key(&verifier, &token)).await;
    assert!(verifier.verify(&broker.token()).is_ok());
}

#[tokio::test]
async fn keeps_withdrawn_key_out_after_restart_with_state_file() {
    let place = Place::new("withdrawn-key");
    let mut broker = Broker::start().await;
    let builder = broker.follower().state_file(place.file());
    let follower = builder.clone().start().await.unwrap();
    let verifier = follower.verifier().build();
    broker.prepare_key();
    until("the prepared key", || follower.status().keys == 2).await;
    broker.cache_keys(false);
    let token = broker.token();
    broker.withdraw_former_key();
    until("the withdrawal", || is_unknown_key(&verifier, &token)).await;
    until_state_has_announcement(&broker, &place).await;
    drop(follower);
    // The feed is down: only the state file and the cached key set are there.
    broker.with(|model| model.mood = crate::follower::Mood::Busy);
    let restarted = builder.start().await.unwrap();
    let verifier = restarted.verifier().build();
    until("a fetch", || restarted.status().counters.key_fetches > 0 && restarted.status().keys == 1).await;
    assert!(is_unknown_key(&verifier, &token));
    broker.stop().await;
}

#[tokio::test]
async fn keeps_withdrawn_key_out_after_restart_with_stale_state_when_stale_list_is_accepted() {
    let place = Place::new("withdrawn-key-stale");
    let mut broker = Broker::start().await;
    let builder = broker.follower().state_file(place.file()).accept_stale_revocations();
    let follower = builder.clone().start().await.unwrap();
    let verifier = follower.verifier().build();
    let token = broker.token();
    broker.prepare_key();
    until("the prepared key", || follower.status().keys == 2).await;
    // A cache that ignores `no-cache` and does not send `Age`.
    broker.cache_keys(false);
    broker.withdraw_former_key();
    until("the withdrawal", || is_unknown_key(&verifier, &token)).await;
    until_state_has_announcement(&broker, &place).await;
    drop(follower);
    broker.with(|model| model.mood = crate::follower::Mood::Busy);
    broker.pass(40);
    let restarted = builder.start().await.unwrap();
    let verifier = restarted.verifier().build();
    assert!(is_unknown_key(&verifier, &token));
    until("a fetch of the old key set", || restarted.status().key_age == Some(Duration::ZERO)).await;
    assert!(is_unknown_key(&verifier, &token));
    assert!(verifier.verify(&broker.token()).is_ok());
    broker.stop().await;
}

#[tokio::test]
async fn drops_withdrawn_key_with_next_refresh_when_thief_in_path_of_feed_announces_it() {
    let broker = Broker::start().await;
    let follower = broker.follower().key_refresh_interval(Duration::from_secs(1)).start().await.unwrap();
    let verifier = follower.verifier().build();
    let old = broker.token();
    broker.prepare_key();
    until("the prepared key", || follower.status().keys == 2).await;
    broker.with(|model| {
        model.thief = Some(model.issuer.signing_key().clone());
        model.issuer.activate_prepared_key();
        model.issuer.withdraw_retired_keys();
    });
    broker.pass(1);
    broker.tell();
    until("the withdrawal", || is_unknown_key(&verifier, &old)).await;
    until("a rejected response", || {
        broker.tell();
        follower.status().counters.responses_rejected > 0
    })
    .await;
    assert!(verifier.verify(&broker.token()).is_ok());
    broker.pass(31);
    let stale = verifier.verify(&broker.token());
    assert!(matches!(stale, Err(VerifyError::StaleRevocations { .. })), "{stale:?}");
    broker.with(|model| model.thief = None);
    until("the broker's own response", || {
        broker.tell();
        verifier.verify(&broker.token()).is_ok()
    })
    .await;
}

#[tokio::test]
async fn scheduled_refresh_passes_http_cache_that_holds_withdrawn_key() {
    let broker = Broker::start().await;
    broker.with(|model| model.issuer.announce_no_keys());
    let follower = broker.follower().key_refresh_interval(Duration::from_secs(1)).start().await.unwrap();
    let verifier = follower.verifier().build();
    let old = broker.token();
    assert!(verifier.verify(&old).is_ok());
    broker.cache_keys(true);
    broker.with(|model| {
        model.issuer.rotate_key([8; 32]);
        model.issuer.withdraw_retired_keys();
    });
    until("the refreshed key set", || is_unknown_key(&verifier, &old)).await;
}

#[tokio::test]
async fn keeps_announced_key_when_cached_key_set_is_older_than_announcement() {
    let broker = Broker::start().await;
    broker.cache_keys(true);
    let follower = broker.follower().key_refresh_interval(Duration::from_secs(1)).start().await.unwrap();
    let verifier = follower.verifier().build();
    broker.prepare_key();
    until("the prepared key", || follower.status().keys == 2).await;
    broker.with(|model| model.issuer.activate_prepared_key());
    // From now on the cache ignores `no-cache`.
    broker.with(|model| {
        let cache = model.key_cache.as_mut().unwrap();
        (cache.revalidates, cache.age) = (false, Some(60));
    });
    broker.pass(5);
    let fetches = broker.with(|model| model.key_fetches);
    until("two refreshes", || broker.with(|model| model.key_fetches) >= fetches + 2).await;
    assert!(verifier.verify(&broker.token()).is_ok());
}
