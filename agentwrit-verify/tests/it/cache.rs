//! A cached token gets the same checks as one seen for the first time.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use agentwrit_verify::{
    ClaimSet, KeySet, Level, PublicKey, RevocationList, TrustedKeys, Verifier, VerifyError, issue::SigningKey,
    testing::TestIssuer,
};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{START, Target, at, encode};

/// Returns the target of a revocation at each level, from the claims to revoke.
type Name = fn(&ClaimSet) -> String;

/// Creates a target whose token is in the verifier's cache.
fn seen(claims: impl FnOnce(&TestIssuer) -> ClaimSet) -> (Target, String) {
    let mut target = Target::new();
    target.claims = claims(&target.issuer);
    let token = target.token();
    keep(&target, &token);
    (target, token)
}

fn keep(target: &Target, token: &str) {
    target.assert_accepted(token);
    assert_eq!(target.verifier.cached_tokens(), 0, "one that is used once is not kept");
    target.assert_accepted(token);
    assert_eq!(target.verifier.cached_tokens(), 1);
    // Once from the shared cache, then from the thread's own copy.
    for _ in 0..4 {
        target.assert_accepted(token);
    }
}

fn plain(issuer: &TestIssuer) -> ClaimSet {
    issuer.claims(&["read:data:*"])
}

/// Three agents: the second and the third got theirs from the one before.
fn delegated_twice(issuer: &TestIssuer) -> ClaimSet {
    issuer.delegated(&issuer.delegated(&plain(issuer), &["read:data:*"]), &["read:data:7"])
}

fn publish(target: &Target, keys: &[&SigningKey]) {
    let keys = KeySet::new(keys.iter().map(|key| key.public_key().clone())).unwrap();
    target.issuer.trusted_keys().publish(keys, Instant::now());
}

fn other_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32]).unwrap()
}

#[test]
fn rejects_cached_token_after_its_key_is_removed() {
    let (target, token) = seen(plain);
    publish(&target, &[target.issuer.signing_key(), &other_key()]);
    target.assert_accepted(&token);
    publish(&target, &[&other_key()]);
    assert!(matches!(target.rejection(&token), VerifyError::UnknownKey { .. }));
    assert_eq!(target.verifier.cached_tokens(), 0, "a token of a withdrawn key keeps no place");
    publish(&target, &[target.issuer.signing_key()]);
    target.assert_accepted(&token);
}

#[test]
fn rejects_cached_token_after_key_id_names_another_key() {
    let (target, token) = seen(plain);
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": target.issuer.signing_key().id().as_str(),
        "x": encode(other_key().public_key().as_bytes())});
    let keys = KeySet::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    target.issuer.trusted_keys().publish(keys, Instant::now());
    assert_eq!(target.rejection(&token), VerifyError::BadSignature);
}

#[test]
fn rejects_cached_token_after_its_key_is_renamed() {
    let (target, token) = seen(plain);
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "renamed",
        "x": encode(target.issuer.signing_key().public_key().as_bytes())});
    let keys = KeySet::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    target.issuer.trusted_keys().publish(keys, Instant::now());
    assert!(matches!(target.rejection(&token), VerifyError::UnknownKey { .. }));
}

#[test]
fn rejects_cached_token_after_key_of_its_chain_is_removed() {
    let (old, mut target) = (other_key(), Target::new());
    publish(&target, &[&old, target.issuer.signing_key()]);
    // Delegated under the old key; the token itself is signed with the new one.
    let mut claims = target.issuer.delegated(&plain(&target.issuer), &["read:data:7"]);
    let record = &mut claims.delegation_chain[0];
    record.signature = data_encoding::HEXLOWER.encode(&old.sign(&record.signed_bytes(&claims.iss, 0, None)));
    claims.chain_hash = Some(agentwrit_verify::delegation::chain_hash(&claims.iss, &claims.delegation_chain));
    target.claims = claims;
    let token = target.token();
    keep(&target, &token);
    publish(&target, &[target.issuer.signing_key()]);
    assert!(matches!(target.rejection(&token), VerifyError::Chain(_)));
}

#[test]
fn rejects_cached_token_without_key_id_after_second_key_appears() {
    let target = Target::new();
    let token = target.signed(r#"{"alg":"EdDSA"}"#, target.payload().to_string());
    keep(&target, &token);
    publish(&target, &[target.issuer.signing_key(), &other_key()]);
    assert_eq!(target.rejection(&token), VerifyError::UnknownKey { kid: None });
}

#[test]
fn rejects_cached_token_when_keys_are_stale() {
    let target = Target::new();
    let keys = TrustedKeys::following(Some(Duration::from_secs(60)));
    let verifier = Verifier::builder()
        .issuer(TestIssuer::ISSUER)
        .keys(keys.clone())
        .without_revocations()
        .clock(target.issuer.clock().clone())
        .build();
    assert_eq!(verifier.verify(&target.token()), Err(VerifyError::KeysUnavailable));
    let now = || agentwrit_verify::Clock::monotonic(target.issuer.clock());
    keys.publish(target.issuer.key_set(), now());
    assert!(verifier.verify(&target.token()).is_ok() && verifier.is_ready());
    target.issuer.clock().advance(Duration::from_secs(60));
    assert!(verifier.verify(&target.token()).is_ok());
    target.issuer.clock().advance(Duration::from_secs(1));
    let stale = VerifyError::KeysStale { age: Duration::from_secs(61) };
    assert_eq!(verifier.verify(&target.token()), Err(stale.clone()));
    assert!(stale.is_unavailable() && !verifier.is_ready());
    keys.publish(target.issuer.key_set(), now());
    assert!(verifier.verify(&target.token()).is_ok());
}

#[test]
fn rejects_and_evicts_cached_token_when_it_expires() {
    let (target, token) = seen(plain);
    target.issuer.clock().advance(Duration::from_secs(299));
    target.assert_accepted(&token);
    target.issuer.clock().advance(Duration::from_secs(1));
    assert!(matches!(target.rejection(&token), VerifyError::Expired { .. }));
    assert_eq!(target.verifier.cached_tokens(), 0);
}

#[test]
fn rejects_cached_token_while_clock_is_before_nbf() {
    let (target, token) = seen(plain);
    target.issuer.clock().set(at(START - 5));
    target.assert_accepted(&token);
    target.issuer.clock().set(at(START - 6));
    assert_eq!(target.rejection(&token), VerifyError::NotYetValid { by: Duration::from_secs(1) });
    target.issuer.clock().set(at(START));
    target.assert_accepted(&token);
}

#[test]
fn rejects_cached_token_revoked_at_any_level() {
    let cases: [(Level, Name); 6] = [
        (Level::Token, |claims| claims.jti.to_string()),
        (Level::Session, |claims| claims.sid.to_string()),
        (Level::Agent, |claims| claims.sub.to_string()),
        (Level::Task, |claims| claims.task_id.clone().unwrap().to_string()),
        (Level::Chain, |claims| claims.sub.to_string()),
        (Level::Issuer, |_| String::new()),
    ];
    for (level, name) in cases {
        let (target, token) = seen(plain);
        target.issuer.revoke(level, &name(&target.claims));
        for _ in 0..2 {
            let (subject, token_id) = (target.claims.sub.clone(), target.claims.jti);
            assert_eq!(target.rejection(&token), VerifyError::Revoked { level, subject, token_id });
        }
    }
}

#[test]
fn rejects_cached_delegated_token_when_delegator_is_revoked() {
    let cases: [(Level, Name); 5] = [
        (Level::Agent, |claims| claims.delegation_chain[0].agent.to_string()),
        (Level::Agent, |claims| claims.delegation_chain[1].agent.to_string()),
        (Level::Session, |claims| claims.delegation_chain[0].sid.to_string()),
        (Level::Session, |claims| claims.delegation_chain[1].sid.to_string()),
        (Level::Chain, |claims| claims.delegation_chain[0].agent.to_string()),
    ];
    for (level, name) in cases {
        let (target, token) = seen(delegated_twice);
        target.issuer.revoke(level, &name(&target.claims));
        assert!(matches!(target.rejection(&token), VerifyError::Revoked { level: found, .. } if found == level));
    }
    let (target, token) = seen(delegated_twice);
    let middle = target.claims.delegation_chain[1].agent.to_string();
    target.issuer.revoke(Level::Chain, &middle);
    target.issuer.revoke(Level::Token, &target.claims.delegation_chain[0].sid.to_string());
    target.assert_accepted(&token);
}

#[test]
fn keeps_revocation_while_its_token_has_not_expired() {
    let (target, token) = seen(plain);
    let list = target.issuer.revocations();
    list.insert(Level::Token, &target.claims.jti.to_string(), at(START), at(START + 300));
    list.remove_expired(at(START + 299));
    target.issuer.clock().advance(Duration::from_secs(299));
    assert!(matches!(target.rejection(&token), VerifyError::Revoked { .. }));
}

#[test]
fn rejects_forgery_of_cached_token() {
    let (target, token) = seen(plain);
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", encode([1; 64]));
    assert_eq!(target.rejection(&forged), VerifyError::BadSignature);
    assert_eq!(target.verifier.cached_tokens(), 1);
    target.assert_accepted(&token);
}

#[test]
fn does_not_cache_rejected_tokens() {
    let target = Target::new();
    target.issuer.revoke(Level::Token, &target.claims.jti.to_string());
    for token in [target.token(), target.with_claim("exp", START), target.with_claim("nbf", START + 999)] {
        for _ in 0..3 {
            target.rejection(&token);
        }
    }
    assert_eq!(target.verifier.cached_tokens(), 0);
}

#[test]
fn cache_memory_is_bounded() {
    let issuer = TestIssuer::new();
    for memory in [0, 1, 20_000, 200_000] {
        let verifier = issuer.verifier_builder().cache_memory(memory).build();
        for _ in 0..300 {
            let token = issuer.token(&["read:data:*"]);
            assert!((0..3).all(|_| verifier.verify(&token).is_ok()));
        }
        let entries = u64::try_from(verifier.cached_tokens()).unwrap();
        assert!(entries * 1500 <= memory, "{entries} entries in {memory} bytes");
    }
}

#[test]
fn caches_of_two_issuers_are_separate() {
    let (one, other) = (TestIssuer::new(), TestIssuer::with_seed([8; 32]));
    let (ours, theirs) = (one.claims(&["a:b:c"]), other.claims(&["a:b:c"]));
    assert_ne!((ours.jti, &ours.sub), (theirs.jti, &theirs.sub));
    assert!(matches!(one.verifier().verify(&other.sign(&theirs)), Err(VerifyError::UnknownKey { .. })));
    other.revoke(Level::Token, &ours.jti.to_string());
    assert!(one.verifier().verify(&one.sign(&ours)).is_ok());
    let next = one.claims(&["a:b:c"]);
    assert_ne!((next.jti, &next.sub), (ours.jti, &ours.sub));
}

/// The list grows many times while it is read concurrently: readers see every revocation completed before they began.
#[test]
fn concurrent_readers_see_completed_revocations() {
    const ENTRIES: usize = 30_000;
    const TOKENS: usize = 60;
    let issuer = TestIssuer::new();
    let claims: Vec<ClaimSet> = (0..TOKENS).map(|_| issuer.claims(&["a:b:c"])).collect();
    let tokens: Vec<String> = claims.iter().map(|claims| issuer.sign(claims)).collect();
    let verifier = issuer.verifier();
    for _ in 0..3 {
        assert!(tokens.iter().all(|token| verifier.verify(token).is_ok()));
    }
    assert_eq!(verifier.cached_tokens(), TOKENS);

    let revoked = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..ENTRIES {
                issuer.revoke(Level::Task, &format!("other-{n}"));
                if n % (ENTRIES / TOKENS) == 0 {
                    let next = n / (ENTRIES / TOKENS);
                    issuer.revoke(Level::Token, &claims[next].jti.to_string());
                    revoked.store(next + 1, Ordering::Release);
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while revoked.load(Ordering::Acquire) < TOKENS {
                    let dead = revoked.load(Ordering::Acquire);
                    for token in tokens.iter().take(dead) {
                        assert!(matches!(verifier.verify(token), Err(VerifyError::Revoked { .. })));
                    }
                    thread::yield_now();
                }
            });
        }
    });
    assert_eq!(issuer.revocations().len(), ENTRIES + TOKENS);
}

/// Two threads verify one token continuously: none accepts it after its key is removed, even when a verification that
/// began before inserts it into the cache.
#[test]
fn concurrent_readers_reject_token_after_key_removal() {
    let issuer = TestIssuer::new();
    let keys: TrustedKeys = issuer.trusted_keys().clone();
    let without = KeySet::new([other_key().public_key().clone()]).unwrap();
    for _ in 0..50 {
        keys.publish(issuer.key_set(), Instant::now());
        let (verifier, token) = (issuer.verifier_builder().build(), issuer.token(&["a:b:c"]));
        let withdrawn = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let before = withdrawn.load(Ordering::Acquire);
                        let accepted = verifier.verify(&token).is_ok();
                        assert!(!(accepted && before == 1));
                    }
                });
            }
            keys.publish(without.clone(), Instant::now());
            withdrawn.store(1, Ordering::Release);
        });
        assert!(verifier.verify(&token).is_err());
    }
}

/// Four threads verify one token continuously, each with its own copy: none accepts it once the revocation has returned.
#[test]
fn concurrent_readers_reject_hot_token_after_revocation() {
    let issuer = TestIssuer::new();
    for round in 0..50 {
        let verifier = issuer.verifier_builder().build();
        let claims = issuer.claims(&["a:b:c"]);
        let token = issuer.sign(&claims);
        let (uses, revoked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let before = revoked.load(Ordering::Acquire);
                        let verdict = verifier.verify(&token).map(drop);
                        uses.fetch_add(1, Ordering::Relaxed);
                        if before == 1 {
                            assert!(matches!(verdict, Err(VerifyError::Revoked { .. })), "{round}: {verdict:?}");
                            return;
                        }
                    }
                });
            }
            while uses.load(Ordering::Relaxed) < 200 {
                thread::yield_now();
            }
            issuer.revoke(Level::Token, &claims.jti.to_string());
            revoked.store(1, Ordering::Release);
        });
    }
}

/// Event of the model test below.
#[derive(Clone, Debug)]
enum Event {
    /// Verifies a token several times on one of two threads.
    Verify {
        thread: usize,
        token: usize,
        times: usize,
    },
    Revoke {
        level: Level,
        token: usize,
    },
    Publish {
        ours: bool,
        other: bool,
    },
    Advance {
        seconds: u64,
    },
    SetBack {
        seconds: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let levels = vec![Level::Token, Level::Session, Level::Agent, Level::Task];
    prop_oneof![
        12 => (0..2_usize, 0..4_usize, 1..8_usize)
            .prop_map(|(thread, token, times)| Event::Verify { thread, token, times }),
        1 => (prop::sample::select(levels), 0..4_usize).prop_map(|(level, token)| Event::Revoke { level, token }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(ours, other)| Event::Publish { ours, other }),
        1 => (1..200_u64).prop_map(|seconds| Event::Advance { seconds }),
        1 => (1..20_u64).prop_map(|seconds| Event::SetBack { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// On any thread, and however often it was used, a token gets the verdict of a verifier without a cache.
    #[test]
    fn verdicts_are_those_without_a_cache(events in prop::collection::vec(event(), 1..60)) {
        let issuer = TestIssuer::new();
        let cached = issuer.verifier_builder().build();
        let uncached = issuer.verifier_builder().cache_memory(0).build();
        let claims: Vec<ClaimSet> =
            (0..4).map(|n| if n == 3 { delegated_twice(&issuer) } else { plain(&issuer) }).collect();
        let tokens: Vec<String> = claims.iter().map(|claims| issuer.sign(claims)).collect();
        let verdict = |verifier: &Verifier, token: usize| {
            verifier.verify(&tokens[token]).map(|claims| claims.as_claim_set().clone())
        };
        thread::scope(|scope| {
            let threads = [(); 2].map(|()| {
                let (requests, received) = mpsc::channel::<(usize, usize)>();
                let (responses, verdicts) = mpsc::channel();
                let (cached, verdict) = (&cached, &verdict);
                scope.spawn(move || {
                    for (token, times) in received {
                        let of_each_use: Vec<_> = (0..times).map(|_| verdict(cached, token)).collect();
                        responses.send(of_each_use).unwrap();
                    }
                });
                (requests, verdicts)
            });
            for event in events {
                match event {
                    Event::Verify { thread, token, times } => {
                        let (requests, verdicts) = &threads[thread];
                        requests.send((token, times)).unwrap();
                        let expected = verdict(&uncached, token);
                        for found in verdicts.recv().unwrap() {
                            prop_assert_eq!(&found, &expected);
                        }
                    }
                    Event::Revoke { level, token } => {
                        let claims = &claims[token];
                        let target = match level {
                            Level::Token => claims.jti.to_string(),
                            Level::Session => claims.sid.to_string(),
                            Level::Agent => claims.sub.to_string(),
                            Level::Task | Level::Chain | Level::Issuer => claims.task_id.clone().unwrap().to_string(),
                        };
                        issuer.revoke(level, &target);
                    }
                    Event::Publish { ours, other } => {
                        let ours = ours.then(|| issuer.signing_key().public_key().clone());
                        let other = other.then(|| other_key().public_key().clone());
                        if let Ok(keys) = KeySet::new(ours.into_iter().chain(other)) {
                            issuer.trusted_keys().publish(keys, Instant::now());
                        }
                    }
                    Event::Advance { seconds } => issuer.clock().advance(Duration::from_secs(seconds)),
                    Event::SetBack { seconds } => {
                        let now = agentwrit_verify::Clock::now(issuer.clock());
                        issuer.clock().set(now.saturating_sub(Duration::from_secs(seconds)));
                    }
                }
            }
            Ok(())
        })?;
    }
}

#[test]
#[should_panic(expected = "the revocation list is for tokens of `https://other.test`")]
fn revocations_panics_for_list_of_another_issuer() {
    let key = PublicKey::from_bytes(other_key().public_key().as_bytes()).unwrap();
    drop(
        Verifier::builder()
            .issuer("https://issuer.test")
            .keys(KeySet::new([key]).unwrap())
            .revocations(RevocationList::authoritative("https://other.test")),
    );
}

#[test]
fn try_revocations_rejects_list_of_another_issuer() {
    let builder = || Verifier::builder().issuer("https://issuer.test").keys(TestIssuer::new().key_set());
    let error = builder().try_revocations(RevocationList::authoritative("https://other.test")).unwrap_err();
    assert_eq!((&*error.list, &*error.verifier), ("https://other.test", "https://issuer.test"));
    assert!(builder().try_revocations(RevocationList::authoritative("https://issuer.test")).is_ok());
}
