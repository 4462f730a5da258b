//! Rejections: each has its reason in the trail, and none uses an assertion up.

use super::*;

#[tokio::test]
async fn rejected_registration_uses_neither_assertion_nor_nonce() {
    let attesting = Attesting::new().await;
    let assertion = attesting.assertion("1");
    let good = registration(attesting.services(), &assertion);
    let wide = ScopeSet::parse(["read:data:*"]).unwrap();
    let other_nonce = Presented::WellFormed(Hex([7; 32]));
    let other_key = SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
    let other_key = Presented::WellFormed(Base64(other_key));
    let rejected = [
        (
            RegistrationRequest { requested_scope: wide.clone(), ..good.clone() },
            "requested scope exceeds allowed scope",
        ),
        (RegistrationRequest { nonce: other_nonce, ..good.clone() }, "nonce not found or expired"),
        (
            RegistrationRequest { signature: Presented::Malformed, ..good.clone() },
            "nonce signature verification failed",
        ),
        (RegistrationRequest { public_key: other_key, ..good.clone() }, "nonce signature verification failed"),
    ];
    for (request, message) in rejected {
        let error = attesting.services().registrations.register(request, None, CLIENT).await.unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    attesting.services().registrations.register(good, None, CLIENT).await.unwrap();
}

#[tokio::test]
async fn assertion_registers_once_also_with_another_expiry() {
    let attesting = Attesting::new().await;
    let first = attesting.assertion("1");
    attesting.register(&first).await.unwrap();
    assert_eq!(reason(attesting.register(&first).await), "assertion_used");
    let exp = attesting.services().ledger.now().seconds() + 600;
    let renewed = assertion(attesting.services(), "1", &json!({ "exp": exp }));
    assert_eq!(reason(attesting.register(&renewed).await), "assertion_used");
    let unnamed = assertion(attesting.services(), "", &json!({ "jti": null }));
    attesting.register(&unnamed).await.unwrap();
    assert_eq!(reason(attesting.register(&unnamed).await), "assertion_used");
    attesting.register(&attesting.assertion("2")).await.unwrap();
}

#[tokio::test]
async fn used_assertion_is_rejected_after_its_use_was_deleted() {
    let attesting = Attesting::new().await;
    let used = attesting.assertion("1");
    attesting.register(&used).await.unwrap();
    let until = attesting.test.clock.now().saturating_add(std::time::Duration::from_secs(86_400 + 61));
    let pruned = attesting.services().ledger.transact(move |tx| tx.prune(until, until)).await.unwrap();
    assert_eq!(pruned.assertions, 1);
    attesting.test.clock.set(until);
    assert_eq!(reason(attesting.register(&used).await), "expired");
}

#[tokio::test]
async fn assertion_with_used_jti_that_expires_later_registers_no_agent() {
    let attesting = Attesting::new().await;
    attesting.register(&attesting.assertion("1")).await.unwrap();
    let now = attesting.test.clock.now();
    let longer = assertion(attesting.services(), "1", &json!({ "exp": now.seconds() + 86_400 }));
    for seconds in [301, 86_399] {
        let until = now.saturating_add(std::time::Duration::from_secs(seconds));
        attesting.services().ledger.transact(move |tx| tx.prune(until, until)).await.unwrap();
        attesting.test.clock.set(until);
        assert_eq!(reason(attesting.register(&longer).await), "assertion_used", "after {seconds} s");
    }
}

#[tokio::test]
async fn rejects_assertion_of_removed_rule_and_of_other_claims() {
    let attesting = Attesting::new().await;
    let other = assertion(attesting.services(), "1", &json!({ "sub": "repo:acme-evil/app" }));
    assert_eq!(reason(attesting.register(&other).await), "claims_mismatch");
    attesting.register(&attesting.assertion("2")).await.unwrap();
    attesting.remove_rule().await;
    assert_eq!(reason(attesting.register(&attesting.assertion("3")).await), "unknown_issuer");
}

#[tokio::test]
async fn app_counts_as_it_is() {
    let attesting = Attesting::new().await;
    let assertion = attesting.assertion("1");
    attesting.set_status(AppStatus::Suspended).await;
    assert_eq!(reason(attesting.register(&assertion).await), "app_not_active");
    attesting.set_status(AppStatus::Active).await;
    attesting.narrow_app().await;
    let narrowed = attesting.register(&assertion).await.unwrap_err();
    assert_eq!(narrowed.to_string(), "requested scopes exceed app ceiling");
    attesting.set_status(AppStatus::Inactive).await;
    assert_eq!(reason(attesting.register(&assertion).await), "unknown_issuer");
}

#[tokio::test]
async fn assertions_issued_before_everything_was_revoked_are_rejected() {
    let attesting = Attesting::new().await;
    let before = attesting.assertion("1");
    let marked_at = attesting.test.clock.now();
    let mark = crate::domain::Revocation {
        level: agentwrit_verify::Level::Issuer,
        target: String::new(),
        revoked_at: marked_at,
        expires_at: marked_at.saturating_add(std::time::Duration::from_secs(86_400)),
        revoked_by: Subject::Admin,
        reason: None,
        listed: true,
    };
    attesting.services().ledger.transact(move |tx| tx.insert_revocation(&mark)).await.unwrap();
    attesting.test.clock.set(marked_at.saturating_add(std::time::Duration::from_secs(61)));
    assert_eq!(reason(attesting.register(&before).await), "issued_before_revocation");
    let undated = assertion(attesting.services(), "2", &json!({ "iat": null }));
    assert_eq!(reason(attesting.register(&undated).await), "issued_before_revocation");
    attesting.register(&attesting.assertion("3")).await.unwrap();
    let now = f64::from(u32::try_from(attesting.test.clock.now().seconds()).unwrap());
    let fractional = assertion(attesting.services(), "4", &json!({ "iat": now + 0.5 }));
    attesting.register(&fractional).await.unwrap();
}

#[tokio::test]
async fn trail_has_reason_and_issuer_that_client_does_not_receive() {
    let attesting = Attesting::new().await;
    let used = attesting.assertion("1");
    attesting.register(&used).await.unwrap();
    let mut texts = Vec::new();
    let late = assertion(attesting.services(), "2", &json!({ "aud": "https://other.example" }));
    for assertion in [used, late, Secret::from("e30.e30.e30"), Secret::from("x y=z")] {
        texts.push(attesting.register(&assertion).await.unwrap_err().to_string());
        attesting.services().ledger.write_all_denials().await.unwrap();
    }
    assert_eq!(texts, vec!["attestation failed"; 4]);
    let trail = attesting.test.trail().await;
    let denied = trail.iter().filter(|event| event.event_type == EventType::AttestationFailed);
    let details: Vec<&str> = denied.map(|event| event.detail.as_str()).collect();
    let rule = &attesting.rule.id;
    assert_eq!(
        details,
        [
            &*format!(
                "attestation refused kind=oidc reason=assertion_used trust_rule_id={rule} issuer={ISSUER} from={CLIENT}"
            ),
            &*format!("attestation refused kind=oidc reason=audience_mismatch issuer={ISSUER} from={CLIENT}"),
            &*format!("attestation refused kind=oidc reason=malformed_token from={CLIENT}"),
            &*format!("attestation refused kind=oidc reason=malformed_token from={CLIENT}"),
        ]
    );
}

#[tokio::test]
async fn refusals_from_one_network_for_other_reasons_are_recorded_apart() {
    let attesting = Attesting::new().await;
    let used = attesting.assertion("1");
    attesting.register(&used).await.unwrap();
    let other = assertion(attesting.services(), "2", &json!({ "aud": "https://other.example" }));
    let malformed = Secret::from("e30.e30.e30");
    for assertion in [&malformed, &malformed, &other, &used, &malformed] {
        attesting.register(assertion).await.unwrap_err();
    }
    attesting.services().ledger.write_all_denials().await.unwrap();
    let trail = attesting.test.trail().await;
    let denied = trail.iter().filter(|event| event.event_type == EventType::AttestationFailed);
    let of_reason = |reason: &str| denied.clone().filter(move |event| event.detail.contains(reason)).count();
    assert_eq!(["malformed_token", "audience_mismatch", "assertion_used"].map(of_reason), [1, 1, 1]);
    assert!(denied.clone().any(|event| event.detail.ends_with(" count=3")), "{denied:?}");
}

#[tokio::test]
async fn forged_assertion_is_recorded_while_issuer_of_another_rule_is_away() {
    let attesting = Attesting::new().await;
    let keys = TrustRuleRequest {
        jwks: None,
        jwks_url: Some("http://127.0.0.1:1/keys".to_owned()),
        ..rule_request(&attesting.app_id, "away")
    };
    attesting.services().trust_rules.add(Subject::Admin, None, keys, CLIENT).await.unwrap();
    let forged = IssuerKey::generate(Algorithm::Es256, "1").token(&json!({ "iss": ISSUER, "sub": "repo:acme/app" }));
    assert_eq!(reason(attesting.register(&Secret::new(forged)).await), "bad_signature");
    let unknown = IssuerKey::generate(Algorithm::Es256, "2").token(&json!({ "iss": ISSUER, "sub": "repo:acme/app" }));
    let unknown = attesting.register(&Secret::new(unknown)).await.unwrap_err();
    assert!(matches!(unknown, Error::AttestationUnavailable(_)), "the other rule may know the key: {unknown:?}");
}

#[tokio::test]
async fn operator_can_add_no_rule_beyond_ceiling_or_for_unknown_app() {
    let attesting = Attesting::new().await;
    let add = |request| attesting.services().trust_rules.add(Subject::Admin, None, request, CLIENT);
    let good = rule_request(&attesting.app_id, "other");
    let wide = TrustRuleRequest { allowed_scope: ScopeSet::parse(["read:data:*"]).unwrap(), ..good.clone() };
    assert!(matches!(add(wide).await, Err(Error::ExceedsCeiling { .. })));
    assert_eq!(add(rule_request(&attesting.app_id, "ci")).await.unwrap_err(), Error::TrustRuleExists);
    let unknown = AppId::new("none", [0; 3]).unwrap();
    assert_eq!(add(rule_request(&unknown, "other")).await.unwrap_err(), Error::AppUnknown);
    let everyone = BTreeMap::from([("aud".to_owned(), ClaimMatch::Prefix("h".to_owned()))]);
    assert!(matches!(add(TrustRuleRequest { claims: everyone, ..good.clone() }).await, Err(Error::Request(_))));
    // The key is not for JWT-SVIDs.
    let id = ClaimMatch::Prefix("spiffe://example.org/ci/".to_owned());
    let (kind, issuer) = (AttestationKind::Spiffe, "spiffe://example.org".to_owned());
    let unusable = TrustRuleRequest { kind, issuer, claims: BTreeMap::from([("sub".to_owned(), id)]), ..good.clone() };
    assert!(matches!(add(unusable).await, Err(Error::Request(_))));
    attesting.set_status(AppStatus::Inactive).await;
    assert_eq!(add(good).await.unwrap_err(), Error::AppUnknown);
}
