//! Mutated and arbitrary tokens: none is accepted, and none panics.

use proptest::prelude::*;

use super::*;

/// A rule's keys and a valid token, made once. No provider: thousands of cases are judged.
struct Fixture {
    attestor: Attestor,
    rule: TrustRule,
    tokens: Vec<String>,
    runtime: tokio::runtime::Runtime,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let clock = Arc::new(ManualClock::new(UnixTime::from_seconds(NOW)));
        let attestor = Attestor::new(&AttestationSettings::default(), clock, Arc::new(Metrics::new()));
        let keys = own_set(&Algorithm::ALL.map(|algorithm| key(algorithm).jwk()));
        let issuer = "https://issuer.example";
        let rule = rule(AttestationKind::Oidc, issuer, keys, &[("sub", equals(SUBJECT))]);
        let claims = json!({ "iss": issuer, "sub": SUBJECT, "aud": AUDIENCE, "exp": NOW + 300, "jti": "1" });
        let tokens = Algorithm::ALL.map(|algorithm| key(algorithm).token(&claims)).into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Fixture { attestor, rule, tokens, runtime }
    })
}

fn judged(token: &str) -> Result<(), AttestationError> {
    let Fixture { attestor, rule, runtime, .. } = fixture();
    let attestation = attestation(AttestationKind::Oidc, token);
    runtime.block_on(attestor.verify(std::slice::from_ref(rule), &attestation)).map(drop)
}

#[test]
fn every_flipped_bit_of_token_is_rejected() {
    for token in &fixture().tokens {
        assert_eq!(judged(token), Ok(()));
        for place in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                let mutated = String::from_utf8(bytes).unwrap();
                assert!(judged(&mutated).is_err(), "bit {bit} of byte {place}");
            }
        }
    }
}

#[test]
fn parts_of_different_tokens_are_rejected_together() {
    // All three tokens have the same claims: header and signature must be of one.
    let part = |token: usize, place: usize| fixture().tokens[token].split('.').nth(place).unwrap();
    for [header, claims, signature] in (0..27).map(|number| [number / 9, number / 3 % 3, number % 3]) {
        let mixed = format!("{}.{}.{}", part(header, 0), part(claims, 1), part(signature, 2));
        assert_eq!(judged(&mixed).is_ok(), header == signature, "{header} {claims} {signature}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn token_with_inserted_removed_or_replaced_part_is_rejected(
        which in 0_usize..3, from in any::<prop::sample::Index>(), length in 0_usize..40, text in "[A-Za-z0-9_.=-]{0,40}",
    ) {
        let token = &fixture().tokens[which];
        let from = from.index(token.len());
        let mut mutated = token.clone();
        mutated.replace_range(from..(from + length).min(token.len()), &text);
        prop_assume!(mutated != *token);
        prop_assert!(judged(&mutated).is_err());
    }

    #[test]
    fn arbitrary_texts_are_rejected(text in any::<String>(), parts in prop::collection::vec("[ -~]{0,60}", 0..5)) {
        prop_assert!(judged(&text).is_err());
        prop_assert!(judged(&parts.join(".")).is_err());
        let encoded: Vec<String> =
            parts.iter().map(|part| data_encoding::BASE64URL_NOPAD.encode(part.as_bytes())).collect();
        prop_assert!(judged(&encoded.join(".")).is_err());
    }

    #[test]
    fn arbitrary_header_and_claims_are_rejected_unless_signed_by_key(
        header in json_value(), claims in json_value(), signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let encode = data_encoding::BASE64URL_NOPAD;
        let text = format!(
            "{}.{}.{}",
            encode.encode(header.to_string().as_bytes()),
            encode.encode(claims.to_string().as_bytes()),
            encode.encode(&signature)
        );
        prop_assert!(judged(&text).is_err());
        // Signed by the issuer, arbitrary claims are judged and never panic.
        let signed = key(Algorithm::EdDsa).token(&claims);
        prop_assert!(judged(&signed).is_err());
        let signed = key(Algorithm::EdDsa).token_with(&header, &json!({ "iss": "https://issuer.example", "sub": SUBJECT }));
        prop_assert!(judged(&signed).is_err());
    }
}

/// Members of headers and claims with values of every type.
fn json_value() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "alg", "kid", "typ", "crit", "b64", "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "x",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["EdDSA", "ES256", "https://issuer.example", SUBJECT, "none"]).prop_map(Value::from),
        Just(json!(NOW + 300)),
    ];
    let value = leaf.prop_recursive(4, 16, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from));
    prop::collection::btree_map(name, value, 0..8)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
        .prop_map(Value::Object)
}
