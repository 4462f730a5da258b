//! Agreement with `jsonwebtoken` 11, an implementation that shares no code with ours (but for the curve, of an older
//! release): on thousands of tokens, valid and invalid, it accepts what we accept, with the same claims. Where it
//! accepts more, [`reason_we_reject`] gives the reason.

use std::{collections::BTreeMap, fs, ops::Range, path::Path};

use agentwrit_verify::{
    ClaimSet, Clock, KeySet, SystemClock, TokenFormatError, Verifier, VerifyError, issue::SigningKey,
    testing::TestIssuer,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::support::{encode, signed_by};

const AUDIENCE: &str = "https://records.test";
const TOKENS: usize = 6000;

/// The same numbers in every run (`splitmix64`).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn within(&mut self, range: Range<usize>) -> usize {
        range.start + usize::try_from(self.next()).unwrap() % range.len()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.within(0..from.len())].clone()
    }
}

/// The two contenders, and who signs for them.
struct Ring {
    key: SigningKey,
    issuer: TestIssuer,
    ours: Verifier,
    theirs: (DecodingKey, Validation),
    now: u64,
}

impl Ring {
    fn new() -> Self {
        let issuer = TestIssuer::new();
        let key = issuer.signing_key().clone();
        let now = SystemClock.now();
        issuer.clock().set(now);
        let ours = Verifier::builder()
            .issuer(TestIssuer::ISSUER)
            .keys(KeySet::new([key.public_key().clone()]).unwrap())
            .without_revocations()
            .audience(AUDIENCE)
            .build();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[TestIssuer::ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        (validation.leeway, validation.validate_nbf) = (5, true);
        let theirs = DecodingKey::from_ed_components(&encode(key.public_key().as_bytes())).unwrap();
        Self { key, issuer, ours, theirs: (theirs, validation), now: now.seconds() }
    }

    fn they_say(&self, token: &str) -> Option<Value> {
        jsonwebtoken::decode::<Value>(token, &self.theirs.0, &self.theirs.1).ok().map(|data| data.claims)
    }

    /// Random claims that both accept.
    fn claims(&self, numbers: &mut Numbers) -> ClaimSet {
        let scopes = [&["read:data:*"][..], &["read:data:7", "write:notes:x"], &["a:b:c", "d:e:f", "g:h:*"]];
        let mut claims = self.issuer.claims(numbers.pick(&scopes));
        claims.aud = numbers.pick(&[vec![AUDIENCE.into()], vec!["https://other.test".into(), AUDIENCE.into()]]);
        claims.exp = self.now + 3600 + numbers.next() % 1000;
        claims.iat = self.now - numbers.next() % 1000;
        claims.nbf = claims.iat;
        for _ in 0..numbers.pick(&[0, 0, 0, 1, 3]) {
            let aud = claims.aud.clone();
            claims = ClaimSet { aud, ..self.issuer.delegated(&claims, &["read:data:7"]) };
        }
        if !claims.delegation_chain.is_empty() && !claims.delegation_chain[0].scope.cover_all(&claims.scope) {
            // Chains whose root does not cover that scope are skipped.
            return self.claims(numbers);
        }
        claims
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "JWT", "kid": self.key.id().as_str()})
    }

    fn sign(&self, header: &Value, payload: &Value) -> String {
        signed_by(&self.key, header.to_string(), payload.to_string())
    }

    fn token(&self, numbers: &mut Numbers) -> String {
        let claims = self.claims(numbers);
        let payload = serde_json::to_value(&claims).unwrap();
        match numbers.within(0..10) {
            0..=2 => self.key.sign_token(&claims),
            3 | 4 => self.with_other_header(numbers, &payload),
            5 | 6 => self.with_other_payload(numbers, payload),
            7 => self.with_text_added(numbers, &payload),
            8 => spoil(numbers, &self.sign(&self.header(), &payload)),
            _ => signed_by(&SigningKey::from_seed(&[9; 32]).unwrap(), self.header().to_string(), payload.to_string()),
        }
    }

    fn with_other_header(&self, numbers: &mut Numbers, payload: &Value) -> String {
        let mut header = self.header();
        let changes = [
            ("alg", json!("Ed25519")),
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!("eddsa")),
            ("typ", json!("jwt")),
            ("typ", json!("at+jwt")),
            ("typ", json!("agentwrit-revocations+jwt")),
            ("typ", json!(1)),
            ("kid", json!("another")),
            ("kid", json!("a b")),
            ("kid", Value::Null),
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("jku", json!("https://attacker.test")),
            ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": encode([1; 32])})),
            ("x5c", json!([])),
            ("x5t", json!("AA")),
            ("x5u", Value::Null),
            ("cty", json!("JWT")),
            ("cty", json!(5)),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
            ("extra", json!({"a": [1, 2, {"b": null}]})),
        ];
        let (member, value) = numbers.pick(&changes);
        header[member] = value;
        self.sign(&header, payload)
    }

    fn with_other_payload(&self, numbers: &mut Numbers, mut payload: Value) -> String {
        let members = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "task_id", "orch_id", "sid"];
        let member = numbers.pick(&members);
        let strange = [
            Value::Null,
            json!("x"),
            json!([]),
            json!(["x", 1]),
            json!({}),
            json!(-1),
            json!(1.5),
            json!(self.now - 7200),
            json!(self.now + 1800),
            json!(self.now + 7200),
            json!(u64::MAX),
            json!(AUDIENCE),
            json!(TestIssuer::ISSUER),
            json!([TestIssuer::ISSUER]),
        ];
        match numbers.within(0..5) {
            0 => {
                payload.as_object_mut().unwrap().remove(member);
            }
            1 => payload["extra"] = numbers.pick(&strange),
            2 => payload["chain_hash"] = json!("00"),
            _ => payload[member] = numbers.pick(&strange),
        }
        self.sign(&self.header(), &payload)
    }

    /// Text before the closing brace of header or payload.
    fn with_text_added(&self, numbers: &mut Numbers, payload: &Value) -> String {
        let deep = |depth: usize| format!(r#","x":{}{}"#, "[".repeat(depth), "]".repeat(depth));
        let texts = [
            String::from(" \n"),
            String::from(r#","x":1,"x":1"#),
            String::from(r#","x":{"y":1,"y":1}"#),
            String::from(r#","alg":"EdDSA""#),
            String::from(r#","exp":9999999999"#),
            String::from(r#","x":"\ud83d\ude00""#),
            String::from(r#","x":1e999"#),
            String::from(","),
            format!(r#","x":"{}""#, "y".repeat(9000)),
            deep(15),
            deep(16),
            deep(200),
        ];
        let text = numbers.pick(&texts);
        let add = |object: &Value| format!("{}{text}}}", object.to_string().strip_suffix('}').unwrap());
        if numbers.next().is_multiple_of(2) {
            signed_by(&self.key, add(&self.header()), payload.to_string())
        } else {
            signed_by(&self.key, self.header().to_string(), add(payload))
        }
    }
}

/// Changes the text of a token.
fn spoil(numbers: &mut Numbers, token: &str) -> String {
    let replacements = ['A', 'B', 'z', '0', '-', '_', '.', '=', '+', '/', '%', ' ', '\n', 'é'];
    let place = numbers.within(0..token.len());
    let mut spoilt = token.to_owned();
    match numbers.within(0..6) {
        0 => spoilt.insert(place, numbers.pick(&replacements)),
        1 => drop(spoilt.remove(place)),
        2 => spoilt.truncate(place),
        3 => spoilt.push(numbers.pick(&replacements)),
        4 => spoilt.replace_range(token.len() - 1.., &numbers.pick(&replacements).to_string()),
        _ => spoilt.replace_range(place..=place, &numbers.pick(&replacements).to_string()),
    }
    spoilt
}

/// Returns why we reject a token that `jsonwebtoken` accepts.
fn reason_we_reject(error: &VerifyError) -> Option<&'static str> {
    Some(match error {
        VerifyError::TooLong { .. } => "it reads tokens of any length",
        VerifyError::UnexpectedType { .. } => "it leaves `typ` to its caller: a feed would pass for a token",
        VerifyError::CriticalHeader => "it understands some critical extensions, or an empty list of them; we none",
        VerifyError::KeyInHeader { .. } => "it ignores keys in the header, as it may; to us they are an attack",
        VerifyError::UnknownKey { .. } => "it is handed one key and never looks at `kid`",
        VerifyError::Malformed(TokenFormatError::KeyId) => "it never looks at `kid`, nor at what it is made of",
        VerifyError::Malformed(TokenFormatError::Header { .. }) => {
            "it takes `null` for a missing member, one of two members of a name, and deeper nesting"
        }
        VerifyError::Malformed(TokenFormatError::Claims { .. }) => {
            "it leaves the claims that are ours to its caller, and takes one of two members of a name"
        }
        VerifyError::NotYetValid { .. } => "it doesn't judge `iat`",
        VerifyError::Chain(_) => "it knows nothing of delegation",
        VerifyError::Malformed(_)
        | VerifyError::UnsupportedAlgorithm { .. }
        | VerifyError::BadSignature
        | VerifyError::WrongIssuer { .. }
        | VerifyError::WrongAudience
        | VerifyError::Expired { .. }
        | VerifyError::Revoked { .. }
        | VerifyError::KeysUnavailable
        | VerifyError::KeysStale { .. }
        | VerifyError::RevocationsUnavailable
        | VerifyError::StaleRevocations { .. }
        | _ => return None,
    })
}

/// Returns why `jsonwebtoken` rejects a token that we accept.
fn why_they_refuse(header: &Value) -> Option<&'static str> {
    if header["alg"] == "Ed25519" {
        return Some("it doesn't know the name that RFC 9864 gave to EdDSA with this curve");
    }
    if !header["cty"].is_string() && !header["cty"].is_null() {
        return Some("it reads header members that mean nothing to us, and wants them to be texts");
    }
    None
}

fn decoded(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).unwrap();
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

/// Every claim that we read is what they read; what we leave out is not there or empty.
fn assert_same(ours: &Value, theirs: &Value) {
    for member in
        ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "task_id", "orch_id", "sid", "delegation_chain"]
    {
        let theirs = Some(&theirs[member]).filter(|value| **value != json!([])).unwrap_or(&Value::Null);
        assert_eq!(&ours[member], theirs, "{member}");
    }
}

/// Corpus for the libraries of other languages: read by `tests/python/test_agreement.py` (`PyJWT`) and
/// `tests/node/agreement.mjs` (jose).
#[test]
fn writes_corpus_for_other_languages() {
    let ring = Ring::new();
    let numbers = &mut Numbers(7797);
    let mut lines = vec![json!({
        "issuer": TestIssuer::ISSUER,
        "audience": AUDIENCE,
        "x": encode(ring.key.public_key().as_bytes()),
    })];
    for _ in 0..TOKENS {
        let token = ring.token(numbers);
        lines.push(match ring.ours.verify(&token) {
            Ok(claims) => json!({"token": token, "accepted": true, "claims": *claims}),
            Err(error) => json!({"token": token, "accepted": false, "error": kind(&error)}),
        });
    }
    assert!(lines.iter().filter(|line| line["accepted"] == true).count() > 2000);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agreement");
    fs::create_dir_all(&directory).unwrap();
    let text = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n";
    fs::write(directory.join("corpus.jsonl"), text).unwrap();
}

/// `Expired`, `Malformed.Base64`: the names of the variants, without their data.
fn kind(error: &VerifyError) -> String {
    let name = |debug: String| debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
    if let VerifyError::Malformed(malformed) = error {
        return format!("Malformed.{}", name(format!("{malformed:?}")));
    }
    name(format!("{error:?}"))
}

#[test]
fn jsonwebtoken_accepts_what_we_accept_with_same_claims() {
    let ring = Ring::new();
    let numbers = &mut Numbers(2026);
    let mut accepted_by_both = 0;
    let mut refused_by_both = 0;
    let mut disagreements: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..TOKENS {
        let token = ring.token(numbers);
        assert_eq!(ring.ours.inspect(&token).is_valid(), ring.ours.verify(&token).is_ok(), "{token}");
        match (ring.ours.verify(&token), ring.they_say(&token)) {
            (Ok(ours), Some(theirs)) => {
                assert_same(&serde_json::to_value(&*ours).unwrap(), &theirs);
                accepted_by_both += 1;
            }
            (Ok(_), None) => {
                let why = why_they_refuse(&decoded(&token, 0)).unwrap_or_else(|| panic!("only we accept {token}"));
                *disagreements.entry(why).or_default() += 1;
            }
            (Err(error), Some(claims)) => {
                let why =
                    reason_we_reject(&error).unwrap_or_else(|| panic!("{error}, but they accept {claims}: {token}"));
                *disagreements.entry(why).or_default() += 1;
            }
            (Err(_), None) => refused_by_both += 1,
        }
    }
    assert!(accepted_by_both > 2000 && refused_by_both > 1000, "{accepted_by_both} and {refused_by_both}");
    // No explanation is left over from what has long been mended.
    assert_eq!(disagreements.len(), 12, "{disagreements:#?}");
}
