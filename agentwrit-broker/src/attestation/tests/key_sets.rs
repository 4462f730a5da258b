//! A provider that rotates, lies, is slow, is huge, redirects, goes away and comes back.

use identity_provider::Serves;
use tokio::time::Instant;

use super::*;

fn new_key(kid: &str) -> SigningKey {
    SigningKey::generate(Algorithm::Es256, kid)
}

fn advance(test: &Test, seconds: u64) {
    test.clock.advance(Duration::from_secs(seconds));
}

#[tokio::test]
async fn follows_rotation_and_rejects_removed_key_after_time_to_live() {
    let (test, next) = (Test::new(), new_key("next"));
    let old_token = test.token();
    assert!(test.verify(&old_token).await.is_ok());
    test.provider.publish([&next]);
    // The new key is found as soon as a token names it, the old one is in force until then.
    assert!(test.verify(&old_token).await.is_ok());
    let token = next.token(&test.claims());
    assert_eq!(test.rejected(&token).await, AttestationError::UnknownKey, "fetched less than 30 s ago");
    advance(&test, 30);
    assert!(test.verify(&token).await.is_ok());
    assert_eq!(test.rejected(&old_token).await, AttestationError::UnknownKey);
    assert_eq!(test.provider.fetches(), 2);

    test.provider.publish([key(Algorithm::Es256)]);
    advance(&test, 269);
    let late = next.token(&test.claims_with(&json!({ "exp": NOW + 3600 })));
    assert!(test.verify(&late).await.is_ok(), "269 s old");
    advance(&test, 31);
    assert_eq!(test.rejected(&late).await, AttestationError::UnknownKey);
    assert_eq!(test.provider.fetches(), 3);
}

#[tokio::test]
async fn fetches_once_in_30_s_for_flood_of_unknown_keys() {
    let test = Test::new();
    for round in 1..=3 {
        for number in 0..500 {
            let unknown =
                key(Algorithm::EdDsa).token_with(&json!({ "alg": "EdDSA", "kid": number.to_string() }), &test.claims());
            assert_eq!(test.rejected(&unknown).await, AttestationError::UnknownKey);
        }
        assert_eq!(test.provider.fetches(), round);
        assert_eq!(test.attestor.signatures.key_sets.len().await, 1);
        advance(&test, 30);
    }
}

#[tokio::test]
async fn tokens_of_50_000_issuers_cause_no_fetch_and_leave_nothing_in_memory() {
    let test = Test::new();
    let (rules, signature) = ([test.rule()], data_encoding::BASE64URL_NOPAD.encode(&[7; 64]));
    let encode = |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = encode(&json!({ "alg": "ES256", "kid": "ES256" }));
    for number in 0..50_000 {
        let claims = test.claims_with(&json!({ "iss": format!("{}/{number}", test.provider.issuer()) }));
        let token = format!("{header}.{}.{signature}", encode(&claims));
        let reason = test.verify_by(&rules, AttestationKind::Oidc, &token).await.unwrap_err();
        assert_eq!(reason, AttestationError::UnknownIssuer);
    }
    assert_eq!((test.provider.fetches(), test.attestor.signatures.key_sets.len().await), (0, 0));
    let metrics = test.metrics.encode();
    assert!(metrics.contains(r#"agentwrit_attestations_rejected_total{reason="unknown_issuer"} 50000"#));
    assert!(!metrics.contains(&test.provider.issuer()), "no label names an issuer");
}

#[tokio::test]
async fn concurrent_tokens_share_one_fetch() {
    let test = Arc::new(Test::new());
    let tokens: Vec<_> = (0..64)
        .map(|_| {
            let test = Arc::clone(&test);
            tokio::spawn(async move { test.verify(&test.token()).await.map(drop) })
        })
        .collect();
    for token in tokens {
        assert_eq!(token.await.unwrap(), Ok(()));
    }
    assert_eq!(test.provider.fetches(), 1);
}

#[tokio::test]
async fn fetch_goes_on_when_its_request_hangs_up() {
    let test = Test::new();
    let token = test.token();
    for _ in 0..20 {
        // Polled once: the fetch begins, and the request is dropped.
        let verify = test.verify(&token);
        tokio::select! { biased; _ = verify => {} () = tokio::task::yield_now() => {} }
    }
    assert!(test.verify(&token).await.is_ok());
    assert_eq!(test.provider.fetches(), 1);
}

#[tokio::test]
async fn keeps_last_keys_for_an_hour_while_provider_is_away_and_recovers() {
    let test = Test::new();
    let token = key(Algorithm::Es256).token(&test.claims_with(&json!({ "exp": NOW + 7200 })));
    assert!(test.verify(&token).await.is_ok());
    test.provider.serve(Serves::Status(503));
    advance(&test, 3599);
    assert!(test.verify(&token).await.is_ok());
    assert_eq!(test.provider.fetches(), 2);
    advance(&test, 1);
    assert_eq!(test.rejected(&token).await, AttestationError::KeySetUnavailable);
    assert!(AttestationError::KeySetUnavailable.is_temporary());
    test.provider.publish([key(Algorithm::Es256)]);
    advance(&test, 60);
    assert!(test.verify(&token).await.is_ok());
}

#[tokio::test]
async fn set_that_has_the_key_answers_at_once_while_provider_hangs() {
    let test = Test::new();
    let token = key(Algorithm::Es256).token(&test.claims_with(&json!({ "exp": NOW + 7200 })));
    assert!(test.verify(&token).await.is_ok());
    test.provider.serve(Serves::Nothing);
    advance(&test, 40);
    // Any client may send a token with an unknown key id: it alone waits.
    let unknown = key(Algorithm::Es256).token_with(&json!({ "alg": "ES256", "kid": "x" }), &test.claims());
    assert_eq!(test.rejected(&unknown).await, AttestationError::UnknownKey);
    let began = Instant::now();
    for seconds in [10, 10, 10, 600] {
        advance(&test, seconds);
        assert!(test.verify(&token).await.is_ok());
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(test.provider.fetches() <= 4, "one fetch at a time in the background");
}

#[tokio::test]
async fn set_is_fetched_in_background_once_provider_is_back() {
    let (test, next) = (Test::new(), new_key("next"));
    let token = key(Algorithm::Es256).token(&test.claims_with(&json!({ "exp": NOW + 7200 })));
    assert!(test.verify(&token).await.is_ok());
    test.provider.serve(Serves::Status(503));
    advance(&test, 400);
    assert!(test.verify(&token).await.is_ok());
    test.provider.publish([&next]);
    advance(&test, 60);
    assert!(test.verify(&token).await.is_ok(), "by the set in memory");
    let fetched = async {
        while test.verify(&token).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), fetched).await.unwrap();
    assert!(test.verify(&next.token(&test.claims_with(&json!({ "exp": NOW + 7200 })))).await.is_ok());
    assert_eq!(test.provider.fetches(), 3);
}

#[tokio::test]
async fn sixty_four_requests_wait_for_one_provider_and_more_are_rejected_at_once() {
    let test = Arc::new(Test::new());
    test.provider.serve(Serves::Nothing);
    let mut requests = tokio::task::JoinSet::new();
    let began = Instant::now();
    for _ in 0..70 {
        let test = Arc::clone(&test);
        requests.spawn(async move { test.verify(&test.token()).await.map(drop) });
    }
    for _ in 0..6 {
        let first = requests.join_next().await.unwrap().unwrap();
        assert_eq!(first, Err(AttestationError::KeySetUnavailable));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(requests.len(), 64);
    requests.join_next().await.unwrap().unwrap().unwrap_err();
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn requests_beyond_those_that_wait_use_set_in_memory_that_names_their_key() {
    let test = Arc::new(Test::new());
    let token = key(Algorithm::Es256).token(&test.claims_with(&json!({ "exp": NOW + 7200 })));
    assert!(test.verify(&token).await.is_ok());
    test.provider.serve(Serves::Nothing);
    advance(&test, 301);
    let mut requests = tokio::task::JoinSet::new();
    let began = Instant::now();
    for _ in 0..70 {
        let (test, token) = (Arc::clone(&test), token.clone());
        requests.spawn(async move { test.verify(&token).await.map(drop) });
    }
    for _ in 0..6 {
        assert_eq!(requests.join_next().await.unwrap().unwrap(), Ok(()));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    while let Some(request) = requests.join_next().await {
        assert_eq!(request.unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn provider_that_hangs_does_not_delay_rule_with_own_keys() {
    let test = Test::new();
    test.provider.serve(Serves::Nothing);
    let own = TrustRule { keys: own_set(&[key(Algorithm::Es256).jwk()]), ..test.rule() };
    let began = Instant::now();
    let attested = test.verify_by(&[test.rule(), own.clone()], AttestationKind::Oidc, &test.token()).await.unwrap();
    assert_eq!(attested.rule, own);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // A provider that responds decides in the order of the rules.
    let test = Test::new();
    let own = TrustRule { issuer: test.provider.issuer(), ..own };
    let attested = test.verify_by(&[test.rule(), own], AttestationKind::Oidc, &test.token()).await;
    assert_eq!(attested.unwrap().rule, test.rule());
}

#[tokio::test]
async fn backs_off_while_fetches_fail() {
    let test = Test::new();
    test.provider.serve(Serves::Cut);
    let token = key(Algorithm::Es256).token(&test.claims_with(&json!({ "exp": NOW + 7200 })));
    let mut fetches = Vec::new();
    for _ in 0..600 {
        assert_eq!(test.rejected(&token).await, AttestationError::KeySetUnavailable);
        fetches.push(test.provider.fetches());
        advance(&test, 1);
    }
    assert_eq!(fetches[0], 1);
    // After 1 to 2, 2 to 4, … 30 to 60 s.
    assert!((14..=27).contains(&fetches[599]), "{} fetches in 10 minutes", fetches[599]);
    let metrics = test.metrics.encode();
    assert!(
        metrics.contains(&format!(r#"agentwrit_key_set_fetches_total{{status="failure"}} {}"#, fetches[599])),
        "{metrics}"
    );
}

#[tokio::test]
async fn rejects_responses_that_are_no_usable_key_set() {
    let trap = IdentityProvider::start([key(Algorithm::Es256)]);
    let mut private = key(Algorithm::Es256).jwk();
    private["d"] = json!("cHJpdmF0ZQ");
    let mut encryption = key(Algorithm::Es256).jwk();
    encryption["use"] = json!("enc");
    for serves in [
        Serves::Text("<html>Sign in</html>".to_owned()),
        Serves::Text(String::new()),
        Serves::Text("{\"keys\":[],\"keys\":[]}".to_owned()),
        Serves::Text("{\"keys\":{}}".to_owned()),
        Serves::Text(format!("{{\"keys\":{}", "[".repeat(100_000))),
        Serves::Keys(vec![]),
        Serves::Keys(vec![key(Algorithm::Es256).jwk(); 65]),
        Serves::Keys(vec![private]),
        Serves::Keys(vec![encryption]),
        Serves::Status(404),
        Serves::Status(204),
        Serves::Redirect(trap.keys_url()),
        Serves::Endless,
        Serves::Text(format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(256 * 1024))),
        Serves::Cut,
    ] {
        let test = Test::new();
        test.provider.serve(serves.clone());
        assert_eq!(test.rejected(&test.token()).await, AttestationError::KeySetUnavailable, "{serves:?}");
    }
    assert_eq!(trap.fetches(), 0, "redirects are not followed");
}

#[tokio::test]
async fn duplicate_key_ids_make_only_that_id_unusable() {
    let test = Test::new();
    let twin = SigningKey::generate(Algorithm::Es256, "ES256");
    test.provider.publish([key(Algorithm::Es256), &twin, key(Algorithm::EdDsa)]);
    for signer in [key(Algorithm::Es256), &twin] {
        assert_eq!(test.rejected(&signer.token(&test.claims())).await, AttestationError::AmbiguousKey);
    }
    assert!(test.verify(&key(Algorithm::EdDsa).token(&test.claims())).await.is_ok());
}

#[tokio::test]
async fn gives_up_after_5_s_on_provider_that_is_slow_or_silent() {
    for serves in [Serves::Nothing, Serves::Slowly(vec![key(Algorithm::Es256).jwk()])] {
        let test = Test::new();
        test.provider.serve(serves.clone());
        let began = Instant::now();
        assert_eq!(test.rejected(&test.token()).await, AttestationError::KeySetUnavailable, "{serves:?}");
        let took = began.elapsed();
        assert!((4..9).contains(&took.as_secs()), "{took:?}");
        // The next token does not wait: the next fetch is not due.
        assert_eq!(test.rejected(&test.token()).await, AttestationError::KeySetUnavailable);
        assert!(began.elapsed() < took + Duration::from_secs(2));
    }
}

#[tokio::test]
async fn host_that_resolves_to_loopback_is_not_contacted_unless_listed() {
    let test = Test::new();
    let url = test.provider.keys_url().replace("http://127.0.0.1", "https://localhost");
    let rules = [TrustRule { keys: RuleKeys::Url(url.clone()), ..test.rule() }];
    let reason = test.verify_by(&rules, AttestationKind::Oidc, &test.token()).await.unwrap_err();
    assert_eq!(reason, AttestationError::KeySetUnavailable);
    let url = crate::attestation::address::KeySetUrl::parse(&url).unwrap();
    let fetch = async |hosts: &str| {
        let fetcher = Fetcher::new(Arc::new(SystemLookup), PrivateHosts::parse(hosts).unwrap(), None);
        fetcher.fetch(&url).await.unwrap_err().to_string()
    };
    let guarded = fetch("").await;
    assert!(guarded.contains("no public address"), "{guarded}");
    // The provider speaks no TLS, so the listed host fails later.
    let listed = fetch("localhost").await;
    assert!(!listed.contains("no public address"), "{listed}");
}

#[tokio::test]
async fn unusable_address_of_rule_is_temporary_and_sends_nothing() {
    let test = Test::new();
    for url in ["http://issuer.example/keys", "ftp://127.0.0.1/keys", "keys"] {
        let rules = [TrustRule { keys: RuleKeys::Url(url.to_owned()), ..test.rule() }];
        let reason = test.verify_by(&rules, AttestationKind::Oidc, &test.token()).await.unwrap_err();
        assert_eq!(reason, AttestationError::KeySetUnavailable, "{url}");
    }
    assert_eq!(test.attestor.signatures.key_sets.len().await, 0);
}
