//! Tests of the settings and keys that brokers of one database have in common.

use std::{convert::Infallible, thread};

use agentwrit_verify::UnixTime;

use crate::{
    domain::{ClusterSettings, KeyPurpose, KeyState, StoredKey},
    store::{
        OpenError,
        postgres::cluster::{JoinError, Joined, join},
        tests::{Home, postgres_server::Schema},
    },
};

fn settings() -> ClusterSettings {
    ClusterSettings {
        issuer: "https://agentwrit.local".to_owned(),
        trust_domain: "agentwrit.local".to_owned(),
        audience: None,
        max_ttl: Some(600),
        admin_secret: [1; 32],
        sender_constrained: "allowed".to_owned(),
        key_rotation: None,
        key_prepare_for: 600,
    }
}

fn keys(kid: u8) -> impl FnOnce(UnixTime) -> Result<Vec<StoredKey>, Infallible> {
    move |now| {
        Ok(vec![StoredKey {
            kid: format!("key-{kid}"),
            purpose: KeyPurpose::Token,
            public: Some([kid; 32]),
            sealed: vec![kid, 0, 255],
            state: KeyState::Active,
            created_at: now,
            activates_at: None,
            activated_at: Some(now),
            retire_at: None,
            changed_at: now,
            cursor: 0,
        }])
    }
}

fn try_join(schema: &Schema, settings: &ClusterSettings, kid: u8) -> Result<Joined, OpenError> {
    let url = schema.url();
    thread::scope(|scope| scope.spawn(|| join(&url, settings, keys(kid))).join().unwrap()).map_err(
        |error| match error {
            JoinError::Open(error) => error,
            JoinError::Keys(never) => match never {},
        },
    )
}

#[test]
fn brokers_that_start_at_once_on_an_empty_database_end_with_the_same_keys() {
    let schema = Schema::create();
    let joined: Vec<Joined> = thread::scope(|scope| {
        let schema = &schema;
        let brokers: Vec<_> = (0..8).map(|kid| scope.spawn(move || try_join(schema, &settings(), kid))).collect();
        brokers.into_iter().map(|broker| broker.join().unwrap().unwrap()).collect()
    });
    assert_eq!(joined.iter().filter(|joined| joined.keys_made).count(), 1);
    assert!(joined.iter().all(|other| other.keys == joined[0].keys && other.deviations.is_empty()));
    let again = try_join(&schema, &settings(), 9).unwrap();
    assert!(!again.keys_made);
    assert_eq!(again.keys, joined[0].keys);
}

#[test]
fn rejects_broker_with_other_issuer_trust_domain_or_audience() {
    let schema = Schema::create();
    try_join(&schema, &settings(), 1).unwrap();
    for (variable, other) in [
        ("AA_ISSUER", ClusterSettings { issuer: "https://other.example".to_owned(), ..settings() }),
        ("AA_TRUST_DOMAIN", ClusterSettings { trust_domain: "other.example".to_owned(), ..settings() }),
        ("AA_AUDIENCE", ClusterSettings { audience: Some("other".to_owned()), ..settings() }),
    ] {
        let error = try_join(&schema, &other, 2).unwrap_err();
        let OpenError::Disagreement { conflicts } = &error else { panic!("{error}") };
        assert_eq!(conflicts.iter().map(|conflict| conflict.variable).collect::<Vec<_>>(), [variable]);
        assert!(error.to_string().contains("for the other brokers of this database"), "{error}");
    }
    assert!(try_join(&schema, &settings(), 2).unwrap().deviations.is_empty(), "nothing was recorded");
}

#[test]
fn warns_once_of_other_max_ttl_binding_rotation_and_admin_secret() {
    let schema = Schema::create();
    try_join(&schema, &settings(), 1).unwrap();
    let sender_constrained = "required".to_owned();
    let changed = ClusterSettings {
        max_ttl: None,
        admin_secret: [2; 32],
        sender_constrained,
        key_rotation: Some(2_592_000),
        key_prepare_for: 60,
        ..settings()
    };
    let joined = try_join(&schema, &changed, 1).unwrap();
    let warnings: Vec<_> = joined.deviations.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "AA_MAX_TTL is `0` here and `600` for the other brokers of this database",
            "AA_SENDER_CONSTRAINED is `required` here and `allowed` for the other brokers of this database",
            "AA_KEY_ROTATION is `2592000` here and `off` for the other brokers of this database",
            "AA_KEY_PREPARE_FOR is `60` here and `600` for the other brokers of this database",
            "AA_ADMIN_SECRET differs from that of the other brokers of this database",
        ]
    );
    assert!(try_join(&schema, &changed, 1).unwrap().deviations.is_empty());
}
