//! Delegation chains: what was handed on narrowly is accepted, and nothing that was touched since.

use agentwrit_verify::{
    AgentId, ClaimSet, Delegation, DelegationChainError, DelegationRecord, ScopeSet, TokenFormatError, TokenId,
    VerifyError,
    delegation::{MAX_DEPTH, chain_hash},
    issue::SigningKey,
    testing::TestIssuer,
};
use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{START, Target, at};

const NARROWING: [&[&str]; 6] = [
    &["read:data:*", "write:data:*", "read:notes:*"],
    &["read:data:*", "write:data:*"],
    &["read:data:*", "write:data:7"],
    &["read:data:*"],
    &["read:data:7", "read:data:8"],
    &["read:data:7"],
];

/// Creates a target whose claims were delegated `hops` times, each time with narrower scopes.
fn delegated(hops: usize) -> Target {
    let mut target = Target::new();
    target.claims = target.issuer.claims(NARROWING[0]);
    for scopes in NARROWING.iter().skip(1).take(hops) {
        target.claims = target.issuer.delegated(&target.claims, scopes);
    }
    target
}

/// Signs the claims as they are, with the hash that their chain calls for.
fn verdict(target: &mut Target) -> Result<(), VerifyError> {
    target.claims.chain_hash = Some(chain_hash(&target.claims.iss, &target.claims.delegation_chain));
    target.verifier.verify(&target.token()).map(drop)
}

/// Signs every record anew from `from` on: what only the broker could do.
fn sign_again(target: &mut Target, from: usize) {
    for index in from..target.claims.delegation_chain.len() {
        let record = target.claims.delegation_chain[index].clone();
        let hop = Delegation {
            agent: record.agent,
            scope: record.scope,
            delegated_at: record.delegated_at,
            delegate: record.delegate,
            sid: record.sid,
            expires_at: record.expires_at,
        };
        let (before, _) = target.claims.delegation_chain.split_at(index);
        let signed = target.issuer.signing_key().sign_delegation(TestIssuer::ISSUER, before, hop);
        target.claims.delegation_chain[index] = signed;
    }
}

/// Rightly signed, whatever was changed.
fn verdict_when_signed(target: &mut Target) -> Result<(), VerifyError> {
    sign_again(target, 0);
    verdict(target)
}

fn broken<T>(error: DelegationChainError) -> Result<T, VerifyError> {
    Err(VerifyError::Chain(error))
}

fn agent(n: u8) -> AgentId {
    AgentId::parse(&format!("spiffe://issuer.test/agent/orch/task/{}", format!("{n:02x}").repeat(8))).unwrap()
}

#[test]
fn accepts_chains_of_up_to_five_hops() {
    for hops in 0..=MAX_DEPTH {
        let target = delegated(hops);
        let claims = target.verifier.verify(&target.token()).unwrap();
        assert_eq!(claims.delegation_chain().len(), hops);
        assert_eq!(claims.as_claim_set(), &target.claims);
    }
}

#[test]
fn rejects_chain_of_six_hops() {
    let mut target = delegated(5);
    target.claims = target.issuer.delegated(&target.claims, &["read:data:7"]);
    assert_eq!(verdict(&mut target), broken(DelegationChainError::TooDeep { depth: 6 }));
}

#[test]
fn accepts_hop_with_equal_scope_and_times() {
    let mut target = Target::new();
    for _ in 0..5 {
        target.claims = target.issuer.delegated(&target.claims, &["read:data:*"]);
    }
    target.assert_accepted(&target.token());
}

#[test]
fn rejects_hash_without_chain_and_chain_without_hash() {
    let mut target = delegated(2);
    let chain = std::mem::take(&mut target.claims.delegation_chain);
    assert_eq!(target.rejection(&target.token()), VerifyError::Chain(DelegationChainError::Hash));
    target.claims.delegation_chain = chain;
    target.claims.chain_hash = None;
    assert_eq!(target.rejection(&target.token()), VerifyError::Chain(DelegationChainError::Hash));
    let mut undelegated = delegated(0);
    assert_eq!(verdict(&mut undelegated), broken(DelegationChainError::Hash));
}

#[test]
fn rejects_wrong_chain_hash() {
    let mut target = delegated(2);
    let good = target.claims.chain_hash.clone().unwrap();
    for hash in [good.to_uppercase(), good[..63].to_owned(), format!("{good} "), "0".repeat(64), String::new()] {
        target.claims.chain_hash = Some(hash);
        assert_eq!(target.rejection(&target.token()), VerifyError::Chain(DelegationChainError::Hash));
    }
}

type Change<T> = fn(&mut T);

/// Everything that can be changed in a record, and back.
fn mutations() -> Vec<(&'static str, Change<DelegationRecord>)> {
    vec![
        ("agent", |record| record.agent = agent(0xee)),
        ("scope, wider", |record| record.scope = ScopeSet::parse(NARROWING[0].iter().chain(&["x:y:z"])).unwrap()),
        ("scope, narrower", |record| record.scope = ScopeSet::parse(["read:data:7"]).unwrap()),
        ("scope, reordered", |record| {
            let mut scopes: Vec<_> = record.scope.iter().cloned().collect();
            scopes.reverse();
            scopes.push("a:b:c".parse().unwrap());
            record.scope = ScopeSet::new(scopes).unwrap();
        }),
        ("delegated_at, earlier", |record| record.delegated_at = at(START - 1)),
        ("delegated_at, later", |record| record.delegated_at = at(START + 1)),
        ("delegate", |record| record.delegate = agent(0xee)),
        ("sid", |record| record.sid = TokenId::from_bytes([0xee; 16])),
        ("expires_at, earlier", |record| record.expires_at = at(START + 299)),
        ("expires_at, later", |record| record.expires_at = at(START + 301)),
        ("signature, one bit", |record| {
            let other = if record.signature.starts_with('0') { "1" } else { "0" };
            record.signature.replace_range(..1, other);
        }),
        ("signature, upper case", |record| record.signature = format!("A{}", &record.signature[1..]).to_uppercase()),
        ("signature, zeros", |record| record.signature = "0".repeat(128)),
        ("signature, none", |record| record.signature.clear()),
        ("signature, longer", |record| record.signature.push_str("00")),
    ]
}

#[test]
fn rejects_change_of_any_member_of_any_record() {
    for hops in 1..=MAX_DEPTH {
        for index in 0..hops {
            for (what, change) in mutations() {
                let mut target = delegated(hops);
                change(&mut target.claims.delegation_chain[index]);
                assert_eq!(target.rejection(&target.token()), VerifyError::Chain(DelegationChainError::Hash), "{what}");
                // The hash is no secret: with the right one it is up to the signatures.
                let expected = broken(DelegationChainError::Signature { index });
                assert_eq!(verdict(&mut target), expected, "{what} of record {index} of {hops}");
            }
        }
    }
}

#[test]
fn rejects_dropped_repeated_or_reordered_records() {
    for hops in 2..=MAX_DEPTH {
        for index in 0..hops {
            let mut target = delegated(hops);
            target.claims.delegation_chain.remove(index);
            assert!(verdict(&mut target).is_err(), "record {index} of {hops} dropped");

            let mut target = delegated(hops);
            let record = target.claims.delegation_chain[index].clone();
            target.claims.delegation_chain.insert(index, record);
            assert!(verdict(&mut target).is_err(), "record {index} of {hops} twice");

            let mut target = delegated(hops);
            target.claims.delegation_chain.swap(index, (index + 1) % hops);
            assert!(verdict(&mut target).is_err(), "records {index} and the next of {hops} swapped");
        }
    }
}

#[test]
fn rejects_record_of_another_chain() {
    // The same agents, scopes, sessions and times; the first hop was made twice, by different brokers' keys.
    let mut target = delegated(3);
    let good = target.claims.delegation_chain.clone();
    target.claims.delegation_chain[0].delegated_at = at(START - 1);
    sign_again(&mut target, 0);
    let other = target.claims.delegation_chain.clone();
    assert_eq!(verdict(&mut target), Ok(()));
    for index in 0..3 {
        let mut spliced = good.clone();
        spliced[index] = other[index].clone();
        target.claims.delegation_chain = spliced;
        assert!(verdict(&mut target).is_err(), "record {index}");
    }
    // A head on a foreign tail, whole records only.
    target.claims.delegation_chain = [&other[..1], &good[1..]].concat();
    assert_eq!(verdict(&mut target), broken(DelegationChainError::Signature { index: 1 }));
}

#[test]
fn rejects_records_of_another_issuer() {
    let mut target = delegated(2);
    let mut chain = Vec::new();
    for record in target.claims.delegation_chain.clone() {
        let DelegationRecord { agent, scope, delegated_at, delegate, sid, expires_at, .. } = record;
        let hop = Delegation { agent, scope, delegated_at, delegate, sid, expires_at };
        chain.push(target.issuer.signing_key().sign_delegation("https://other.test", &chain, hop));
    }
    target.claims.delegation_chain = chain;
    assert_eq!(verdict(&mut target), broken(DelegationChainError::Signature { index: 0 }));
    target.claims.chain_hash = Some(chain_hash("https://other.test", &target.claims.delegation_chain));
    assert_eq!(target.rejection(&target.token()), VerifyError::Chain(DelegationChainError::Hash));
}

#[test]
fn rejects_records_signed_by_untrusted_keys() {
    let mut target = delegated(2);
    let untrusted = SigningKey::from_seed(&[9; 32]).unwrap();
    for index in 0..2 {
        let record = target.claims.delegation_chain[index].clone();
        let previous = index.checked_sub(1).map(|index| target.claims.delegation_chain[index].clone());
        let bytes = record.signed_bytes(TestIssuer::ISSUER, index, previous.as_ref());
        target.claims.delegation_chain[index].signature = HEXLOWER.encode(&untrusted.sign(&bytes));
    }
    assert_eq!(verdict(&mut target), broken(DelegationChainError::Signature { index: 0 }));
}

#[test]
fn rejects_record_signature_over_other_bytes() {
    let mut target = delegated(1);
    let token = target.token();
    let signature = token.rsplit('.').next().unwrap();
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    target.claims.delegation_chain[0].signature = HEXLOWER.encode(&signature);
    assert_eq!(verdict(&mut target), broken(DelegationChainError::Signature { index: 0 }));
}

#[test]
fn rejects_scope_wider_than_previous_record() {
    for index in 1..3 {
        let mut target = delegated(3);
        target.claims.delegation_chain[index].scope = ScopeSet::parse(NARROWING[0].iter().chain(&["x:y:z"])).unwrap();
        assert_eq!(verdict_when_signed(&mut target), broken(DelegationChainError::Widened { index }));
    }
    let mut target = delegated(3);
    for wider in [["read:data:*", "x:y:z"], ["read:data:*", "read:datax:7"]] {
        target.claims.scope = ScopeSet::parse(wider).unwrap();
        assert_eq!(verdict(&mut target), broken(DelegationChainError::Widened { index: 3 }), "the token itself");
    }
    let mut target = delegated(5);
    target.claims.scope = ScopeSet::parse(["read:data:*"]).unwrap();
    assert_eq!(verdict(&mut target), broken(DelegationChainError::Widened { index: 5 }), "one identifier is not all");
}

#[test]
fn rejects_chain_when_delegator_was_not_previous_delegate() {
    for index in 1..3 {
        let mut target = delegated(3);
        target.claims.delegation_chain[index].agent = agent(0xee);
        assert_eq!(verdict_when_signed(&mut target), broken(DelegationChainError::Broken { index }));
    }
    for sub in [agent(0xee).to_string(), String::from("admin"), String::from("app:app-web-01ab23")] {
        let mut target = delegated(2);
        target.claims.sub = sub.parse().unwrap();
        assert_eq!(verdict(&mut target), broken(DelegationChainError::Broken { index: 2 }), "the token itself");
    }
    let mut target = delegated(2);
    target.claims.sub = target.claims.delegation_chain[0].agent.to_string().parse().unwrap();
    assert_eq!(
        verdict(&mut target),
        broken(DelegationChainError::Broken { index: 2 }),
        "the root with the chain it started"
    );
}

#[test]
fn rejects_times_out_of_order() {
    let cases: [(&str, usize, Change<ClaimSet>); 8] = [
        ("a record outlives the one before", 1, |claims| claims.delegation_chain[1].expires_at = at(START + 301)),
        ("delegated before it was received", 1, |claims| claims.delegation_chain[1].delegated_at = at(START - 1)),
        ("delegated when it expired", 0, |claims| claims.delegation_chain[0].delegated_at = at(START + 300)),
        ("delegated after it expired", 1, |claims| claims.delegation_chain[1].expires_at = at(START)),
        ("the first after the second", 1, |claims| claims.delegation_chain[0].delegated_at = at(START + 2)),
        ("the token outlives its delegator", 2, |claims| claims.exp = START + 301),
        ("the token lives for ever", 2, |claims| claims.exp = u64::MAX),
        ("the token is older than its delegation", 2, |claims| claims.iat = START - 1),
    ];
    for (what, index, change) in cases {
        let mut target = delegated(2);
        change(&mut target.claims);
        assert_eq!(verdict_when_signed(&mut target), broken(DelegationChainError::Times { index }), "{what}");
    }
    let mut target = delegated(2);
    (target.claims.exp, target.claims.iat) = (START + 299, START + 3);
    assert_eq!(verdict(&mut target), Ok(()), "a renewal is younger");
}

/// Returns the result for a token whose first record has `member` in another encoding of the same value.
fn respelt(member: &str, value: Value) -> VerifyError {
    let target = delegated(2);
    let mut payload = target.payload();
    let record = &mut payload["delegation_chain"][0];
    assert_ne!(record[member], value);
    record[member] = value;
    target.rejection(&target.signed(target.header().to_string(), payload.to_string()))
}

#[test]
fn rejects_record_values_in_other_encodings() {
    for time in [
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:00:00-00:00",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00z",
        "2026-01-01t00:00:00Z",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00.0Z",
        "2026-01-01T00:00:00.000000Z",
        "2026-01-01T00:00:00.5Z",
        "2026-01-01T00:00:00,5Z",
        "2025-12-31T24:00:00Z",
        "2025-12-31T23:59:60Z",
        "2026-01-01T00:00Z",
        "20260101T000000Z",
        "+002026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z[UTC]",
        " 2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z ",
        "1767225600",
    ] {
        let error = respelt("delegated_at", json!(time));
        assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })), "{time}: {error}");
    }
    for time in ["2026-01-01T00:05:00.25Z", "2026-01-01T00:05:00.000Z", "2026-01-01T00:05:00+00:00"] {
        let error = respelt("expires_at", json!(time));
        assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })), "{time}: {error}");
    }
    let target = delegated(2);
    let record = &target.payload()["delegation_chain"][0];
    let mut scopes = record["scope"].as_array().unwrap().clone();
    scopes.push(scopes[0].clone());
    for (member, value) in [
        ("scope", json!(scopes)),
        (
            "scope",
            json!(
                record["scope"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect::<Vec<_>>().join(" ")
            ),
        ),
        ("sid", json!(record["sid"].as_str().unwrap().to_uppercase() + " ")),
        ("agent", json!(record["agent"].as_str().unwrap().to_uppercase())),
        ("signature", Value::Null),
    ] {
        let error = respelt(member, value);
        assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })), "{member}: {error}");
    }
    let error = respelt("signature", json!(record["signature"].as_str().unwrap().to_uppercase()));
    assert_eq!(error, VerifyError::Chain(DelegationChainError::Hash));
}

#[test]
fn rejects_record_without_a_required_member() {
    for member in ["agent", "scope", "delegated_at", "delegate", "sid", "expires_at", "signature"] {
        let target = delegated(2);
        let mut payload = target.payload();
        payload["delegation_chain"][1].as_object_mut().unwrap().remove(member);
        let error = target.rejection(&target.signed(target.header().to_string(), payload.to_string()));
        assert!(
            matches!(&error, VerifyError::Malformed(TokenFormatError::Claims { message }) if message.contains(member))
        );
    }
}

#[test]
fn drops_fractions_of_a_second_when_signing_a_hop() {
    let target = delegated(1);
    let DelegationRecord { agent, scope, delegate, sid, expires_at, .. } = target.claims.delegation_chain[0].clone();
    let delegated_at = agentwrit_verify::UnixTime::since_epoch(std::time::Duration::from_millis(START * 1000 + 999));
    let hop = Delegation { agent, scope, delegated_at, delegate, sid, expires_at };
    let record = target.issuer.signing_key().sign_delegation(TestIssuer::ISSUER, &[], hop);
    assert_eq!(record, target.claims.delegation_chain[0], "what is signed is what is written");
    let written = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<DelegationRecord>(&written).unwrap(), record);
}

/// A chain of random hops, each within the one before.
fn narrow_chains() -> impl Strategy<Value = Target> {
    let hop = (proptest::collection::vec(any::<bool>(), 3), 0_u64..3, 0_u64..20);
    proptest::collection::vec(hop, 1..=MAX_DEPTH).prop_map(|hops| {
        let mut target = Target::new();
        let mut scopes = vec!["read:data:*", "write:data:*", "read:notes:*"];
        target.claims = target.issuer.claims(&scopes);
        for (kept, waited, shorter) in hops {
            let narrower: Vec<&str> = scopes
                .iter()
                .zip(kept.iter().cycle())
                .filter(|(_, keep)| **keep)
                .map(|(scope, _)| if *scope == "read:data:*" && shorter % 2 == 0 { "read:data:7" } else { *scope })
                .collect();
            if !narrower.is_empty() {
                scopes = narrower;
            }
            target.issuer.clock().advance(std::time::Duration::from_secs(waited));
            target.claims = target.issuer.delegated(&target.claims, &scopes);
            target.claims.exp -= shorter;
        }
        target
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn narrow_chains_are_accepted_and_touched_ones_refused(
        target in narrow_chains(),
        which in any::<prop::sample::Index>(),
        how in any::<prop::sample::Index>(),
    ) {
        let mut target = target;
        prop_assert_eq!(verdict(&mut target), Ok(()));
        let index = which.index(target.claims.delegation_chain.len());
        let (what, change) = mutations()[how.index(mutations().len())];
        let before = target.claims.delegation_chain[index].clone();
        change(&mut target.claims.delegation_chain[index]);
        prop_assume!(target.claims.delegation_chain[index] != before);
        prop_assert_eq!(verdict(&mut target), broken(DelegationChainError::Signature { index }), "{}", what);
    }
}

/// `tests/vectors/delegation-chain.json` is what `docs/delegation-chain.md` promises to implementers.
mod vector {
    use agentwrit_verify::{KeySet, UnixTime, Verifier, testing::ManualClock};
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        seed: String,
        issuer: String,
        jwks: Value,
        now: UnixTime,
        records: Vec<Record>,
        chain_bytes: String,
        chain_hash: String,
        claims: ClaimSet,
        token: String,
    }

    #[derive(Deserialize)]
    struct Record {
        record: DelegationRecord,
        signed_bytes: String,
    }

    fn read() -> Vector {
        serde_json::from_str(include_str!("../vectors/delegation-chain.json")).unwrap()
    }

    #[test]
    fn vector_equals_our_bytes_signatures_hash_and_token() {
        let vector = read();
        let seed: [u8; 32] = HEXLOWER.decode(vector.seed.as_bytes()).unwrap().try_into().unwrap();
        let key = SigningKey::from_seed(&seed).unwrap();
        let mut chain: Vec<DelegationRecord> = Vec::new();
        for Record { record, signed_bytes } in vector.records {
            let bytes = record.signed_bytes(&vector.issuer, chain.len(), chain.last());
            assert_eq!(HEXLOWER.encode(&bytes), signed_bytes);
            let DelegationRecord { agent, scope, delegated_at, delegate, sid, expires_at, .. } = record.clone();
            let hop = Delegation { agent, scope, delegated_at, delegate, sid, expires_at };
            assert_eq!(key.sign_delegation(&vector.issuer, &chain, hop), record);
            chain.push(record);
        }
        assert_eq!(chain_hash(&vector.issuer, &chain), vector.chain_hash);
        let chain_bytes = HEXLOWER.decode(vector.chain_bytes.as_bytes()).unwrap();
        assert_eq!(
            HEXLOWER.encode(&sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(chain_bytes))),
            vector.chain_hash
        );
        assert_eq!(vector.claims.delegation_chain, chain);
        assert_eq!(key.sign_token(&vector.claims), vector.token);
    }

    #[test]
    fn accepts_token_of_vector() {
        let vector = read();
        let verifier = Verifier::builder()
            .issuer(&vector.issuer)
            .keys(KeySet::from_jwks(vector.jwks.to_string().as_bytes()).unwrap())
            .without_revocations()
            .clock(ManualClock::new(vector.now))
            .build();
        assert_eq!(verifier.verify(&vector.token).unwrap().as_claim_set(), &vector.claims);
    }
}
