//! Tokens, keys and bodies that two readers would take differently (issue 3, "exact weaknesses"). The tokens here are
//! signed with the broker's own key: only their form or their content is wrong.

use agentwrit_e2e::{Broker, Registration, payload, protected_header};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};

const SCOPE: &[&str] = &["read:data:x"];

#[tokio::test]
async fn rejects_small_order_keys_with_universal_signatures() {
    let broker = Broker::start().await;
    let valid = broker.registration(&broker.admin_token().await, SCOPE).await;
    // Every encoding of the eight points of small order, canonical or not.
    let points = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    let points: Vec<Vec<u8>> = points.iter().map(|point| HEXLOWER.decode(point.as_bytes()).unwrap()).collect();
    let rows = broker.stored_rows();
    for key in &points {
        for commitment in &points {
            let forged = valid
                .clone()
                .with("public_key", json!(BASE64.encode(key)))
                .with("signature", json!(BASE64.encode(&[commitment.as_slice(), &[0; 32]].concat())));
            let answer = broker.post("/v1/register").json(&forged.0).await;
            answer.refused(401, "unauthorized", "invalid Ed25519 public key");
        }
    }
    assert_eq!(broker.stored_rows(), rows);
    assert_eq!(broker.post("/v1/register").json(&valid.0).await.status, 200);
}

#[tokio::test]
async fn bad_task_id_consumes_neither_launch_token_nor_nonce() {
    let broker = Broker::start().await;
    let valid = broker.registration(&broker.admin_token().await, SCOPE).await;
    for field in ["task_id", "orch_id"] {
        for id in ["", ".", "..", "a/b", "../admin", "a b", "a\n", "é", "%2e%2e", &"x".repeat(129)] {
            let bad = valid.clone().with(field, json!(id));
            broker.post("/v1/register").json(&bad.0).await.refused_for(400, "invalid_request", field);
        }
    }
    assert_eq!(broker.post("/v1/register").json(&valid.0).await.status, 200);
}

#[tokio::test]
async fn rejects_other_encodings_of_valid_token() {
    let broker = Broker::start().await;
    let (token, _) = broker.agent(&broker.admin_token().await, SCOPE).await;
    let parts: Vec<&str> = token.split('.').collect();
    let mut others = vec![
        format!("{token}="),
        format!("{token}=="),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{}", parts[2]),
        format!("{token}\n"),
        format!(" {token}"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}\u{0}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{} .{}", parts[0], parts[1], parts[2]),
        json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string(),
    ];
    // The last letter of a part whose bytes don't fill it has bits that nothing reads.
    for (index, part) in parts.iter().enumerate() {
        for last in BASE64URL_NOPAD.specification().symbols.chars() {
            let mut other: Vec<String> = parts.iter().map(ToString::to_string).collect();
            other[index] = format!("{}{last}", part.strip_suffix(|_: char| true).unwrap());
            others.push(other.join("."));
        }
    }
    others.retain(|other| *other != token);
    assert!(others.len() > 190);
    for other in &others {
        let answer = broker.post("/v1/token/validate").json(&json!({"token": other})).await;
        assert_eq!(answer.json()["valid"], false, "{other:?}");
    }
    assert!(broker.accepts(&token).await);
}

#[tokio::test]
async fn rejects_token_at_its_expiry() {
    let broker = Broker::start().await;
    let (token, _) = broker.agent(&broker.admin_token().await, SCOPE).await;
    let (forger, mut claims) = (broker.forger(), payload(&token));
    let header = protected_header(&token).to_string();
    // The broker's own clock, in the second in which it answered.
    let now = claims["iat"].as_u64().unwrap();
    claims["nbf"] = json!(now - 10);
    claims["iat"] = json!(now - 10);
    for (exp, valid) in [(now + 60, true), (now, false), (now - 1, false)] {
        claims["exp"] = json!(exp);
        assert_eq!(broker.accepts(&forger.sign(&header, &claims.to_string())).await, valid, "{exp} at {now}");
    }
}

#[tokio::test]
async fn rejects_correctly_signed_malformed_tokens() {
    let broker = Broker::start().await;
    let (token, _) = broker.agent(&broker.admin_token().await, SCOPE).await;
    let (forger, claims) = (broker.forger(), payload(&token));
    let (header, claims_text) = (protected_header(&token), claims.to_string());
    assert!(broker.accepts(&forger.sign(&header.to_string(), &claims_text)).await, "the forger can sign");

    let headers = [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("alg", json!("eddsa")),
        ("typ", json!("agentwrit-revocations+jwt")),
        ("typ", json!("dpop+jwt")),
        ("crit", json!(["exp"])),
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5c", json!([])),
        ("kid", json!("another")),
        ("kid", json!("")),
        ("kid", json!(7)),
    ];
    for (member, value) in headers {
        let mut header = header.clone();
        header[member] = value.clone();
        assert!(!broker.accepts(&forger.sign(&header.to_string(), &claims_text)).await, "{member} = {value}");
    }
    let payloads = [
        ("iss", json!("https://evil.example")),
        ("sub", json!("Admin")),
        ("sub", json!("app:desk")),
        ("exp", json!("never")),
        ("exp", json!(1.5)),
        ("exp", Value::Null),
        ("nbf", json!(4_000_000_000_u64)),
        ("iat", json!(4_000_000_000_u64)),
        ("scope", json!("read:data:x")),
        ("scope", json!([])),
        ("scope", json!(["read:data:x admin:revoke:*"])),
        ("scope", json!(["*:*:*"])),
        ("jti", json!("not-hex")),
        ("sid", Value::Null),
        ("task_id", json!("../x")),
        ("chain_hash", json!("0".repeat(64))),
        ("delegation_chain", json!([{}])),
    ];
    for (member, value) in payloads {
        let mut claims = claims.clone();
        claims[member] = value.clone();
        assert!(!broker.accepts(&forger.sign(&header.to_string(), &claims.to_string())).await, "{member} = {value}");
    }
}

#[tokio::test]
async fn rejects_token_with_duplicate_members() {
    let broker = Broker::start().await;
    let (token, _) = broker.agent(&broker.admin_token().await, SCOPE).await;
    let forger = broker.forger();
    let (header, claims) = (protected_header(&token).to_string(), payload(&token).to_string());
    let inner = |text: &str| text.trim_start_matches('{').trim_end_matches('}').to_owned();
    for (header, claims) in [
        (header.clone(), format!(r#"{{"sub":"admin",{}}}"#, inner(&claims))),
        (header.clone(), format!(r#"{{{},"sub":"admin"}}"#, inner(&claims))),
        (header.clone(), format!(r#"{{{},"s\u0075b":"admin"}}"#, inner(&claims))),
        (header.clone(), format!(r#"{{{},"unknown":{{"a":1,"a":2}}}}"#, inner(&claims))),
        (format!(r#"{{{},"alg":"EdDSA"}}"#, inner(&header)), claims.clone()),
        (format!(r#"{{{},"k\u0069d":"another"}}"#, inner(&header)), claims.clone()),
    ] {
        assert!(!broker.accepts(&forger.sign(&header, &claims)).await, "{header} {claims}");
    }
    assert!(broker.accepts(&forger.sign(&header, &claims)).await);
}

#[tokio::test]
async fn rejects_body_with_duplicate_members() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (agent, id) = broker.agent(&admin, SCOPE).await;
    let registration: Registration = broker.registration(&admin, SCOPE).await;
    let text = registration.0.to_string();
    let twice = format!(r#"{},"requested_scope":["read:data:x"]}}"#, text.strip_suffix('}').unwrap());
    for (path, token, body) in [
        ("/v1/revoke", &admin, format!(r#"{{"level":"task","level":"agent","target":"{id}"}}"#)),
        ("/v1/revoke", &admin, format!(r#"{{"level":"agent","target":"task-1","t\u0061rget":"{id}"}}"#)),
        ("/v1/delegate", &agent, format!(r#"{{"delegate_to":"{id}","scope":["read:data:x"],"scope":["a:b:c"]}}"#)),
        ("/v1/token/validate", &agent, format!(r#"{{"token":"x","token":"{agent}"}}"#)),
        ("/v1/register", &agent, twice),
    ] {
        broker.post(path).bearer(token).body(body).await.problem(400, "invalid_request");
    }
    assert!(broker.accepts(&agent).await);
    assert_eq!(broker.post("/v1/register").json(&registration.0).await.status, 200);
}
