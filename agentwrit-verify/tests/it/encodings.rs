//! One content has one encoding: base64url, JSON, size and shape.

use agentwrit_verify::{MAX_TOKEN_LENGTH, TokenFormatError, VerifyError, issue::SigningKey};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::support::{Target, encode};

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The token with one of its three parts rewritten.
fn with_part(token: &str, index: usize, rewrite: impl Fn(&str) -> String) -> String {
    let parts: Vec<String> =
        token.split('.').enumerate().map(|(n, part)| if n == index { rewrite(part) } else { part.into() }).collect();
    parts.join(".")
}

#[test]
fn rejects_padding() {
    let target = Target::new();
    for index in 0..3 {
        for padding in ["=", "==", "===", "%3D", "%3d%3d"] {
            let token = with_part(&target.token(), index, |part| format!("{part}{padding}"));
            assert_eq!(
                target.rejection(&token),
                if index == 1 { VerifyError::BadSignature } else { TokenFormatError::Base64.into() }
            );
        }
    }
}

#[test]
fn rejects_other_alphabet_and_percent_encoding() {
    let target = Target::new();
    // `~~~` and `???` are written with `-` and `_` in base64url.
    let token = target.with_header("note", "~~~???>>>");
    let signature_has_both = (0..200).map(|n| target.with_claim("n", n)).find(|token| {
        let signature = token.rsplit('.').next().unwrap();
        signature.contains('-') && signature.contains('_')
    });
    for (token, index) in [(token, 0), (signature_has_both.unwrap(), 2)] {
        target.assert_accepted(&token);
        for (from, to) in [("-", "+"), ("_", "/"), ("-", "%2D"), ("_", "%5F")] {
            let other = with_part(&token, index, |part| part.replace(from, to));
            if other != token {
                assert_eq!(target.rejection(&other), TokenFormatError::Base64.into(), "{other}");
            }
        }
    }
}

#[test]
fn rejects_white_space_and_foreign_characters_anywhere() {
    let target = Target::new();
    let token = target.token();
    for foreign in [' ', '\t', '\n', '\r', '\0', '\u{a0}', 'é', ',', '"', '~'] {
        for index in 0..3 {
            for place in 0..3 {
                let spoilt = with_part(&token, index, |part| {
                    let mut part = part.to_owned();
                    part.insert([0, part.len() / 2, part.len()][place], foreign);
                    part
                });
                let error = target.rejection(&spoilt);
                assert!(
                    matches!(error, VerifyError::BadSignature | VerifyError::Malformed(TokenFormatError::Base64)),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn rejects_stray_trailing_bits() {
    let target = Target::new();
    let token = target.token();
    let mut tried = 0;
    for index in [0, 2] {
        let part = token.split('.').nth(index).unwrap();
        let (kept, last) = part.split_at(part.len() - 1);
        // Number of spare bits in the last character.
        let spare = [0, 0, 4, 2][part.len() % 4];
        let value = ALPHABET.find(last).unwrap();
        for other in (1..1 << spare).map(|bits| &ALPHABET[value | bits..=value | bits]) {
            assert_eq!(
                target.rejection(&with_part(&token, index, |_| format!("{kept}{other}"))),
                TokenFormatError::Base64.into()
            );
            tried += 1;
        }
    }
    assert!(tried >= 15, "the signature alone has four bits to spare");
}

#[test]
fn rejects_signed_parts_in_other_encodings() {
    let target = Target::new();
    let (header, payload) = (target.header().to_string(), target.payload().to_string());
    // One byte or two beyond a multiple of three, so that padding and spare bits exist; `~~~???` for `-` and `_`.
    let padded =
        |text: &str| format!("{}{}", text.replacen('{', r#"{"n":"~~~???>>>","#, 1), [" ", "", "  "][text.len() % 3]);
    let good = [encode(padded(&header)), encode(padded(&payload))];
    let sign = |parts: &[String; 2]| {
        let input = parts.join(".");
        let signature = target.issuer.signing_key().sign(input.as_bytes());
        format!("{input}.{}", encode(signature))
    };
    target.assert_accepted(&sign(&good));
    for index in 0..2 {
        let part = good[index].clone();
        let (kept, last) = part.split_at(part.len() - 1);
        let value = ALPHABET.find(last).unwrap();
        let stray = format!("{kept}{}", &ALPHABET[value + 1..=value + 1]);
        let whole = part.len().next_multiple_of(4);
        for spelling in [
            format!("{part:=<whole$}"),
            stray,
            format!("{part}\n"),
            format!(" {part}"),
            part.replace('-', "+"),
            part.replace('_', "/"),
            part.replace('_', "%5F"),
        ] {
            assert_ne!(spelling, part);
            let mut parts = good.clone();
            parts[index] = spelling;
            assert_eq!(target.rejection(&sign(&parts)), TokenFormatError::Base64.into(), "{parts:?}");
        }
    }
}

#[test]
fn rejects_any_changed_character() {
    let target = Target::new();
    let token = target.token();
    target.assert_accepted(&token);
    for place in 0..token.len() {
        for replacement in ["A", "Q", "g", "w", "-", "."] {
            let mut spoilt = token.clone();
            spoilt.replace_range(place..=place, replacement);
            if spoilt != token {
                target.rejection(&spoilt);
            }
        }
        let mut shorter = token.clone();
        shorter.remove(place);
        target.rejection(&shorter);
        target.rejection(&token[..place]);
    }
}

#[test]
fn rejects_other_numbers_of_parts() {
    let target = Target::new();
    let token = target.token();
    let (two, last) = token.rsplit_once('.').unwrap();
    for text in
        ["", "e30", two, &format!("{token}.{last}"), &format!("{token}."), &format!(".{token}"), "....", "a.b.c.d"]
    {
        assert_eq!(target.rejection(text), TokenFormatError::NotThreeParts.into(), "{text:?}");
    }
    for text in ["..", ".e30.", &format!(".{}", token.split_once('.').unwrap().1)] {
        assert!(matches!(target.rejection(text), VerifyError::Malformed(TokenFormatError::Header { .. })), "{text:?}");
    }
    assert_eq!(target.rejection(&with_part(&token, 1, |_| String::new())), VerifyError::BadSignature);
}

#[test]
fn rejects_duplicate_members() {
    let target = Target::new();
    let kid = target.issuer.signing_key().id();
    for again in
        [r#","alg":"EdDSA""#, r#","\u0061lg":"EdDSA""#, r#","typ":"JWT""#, r#","a":1,"a":1"#, r#","a":{"b":1,"b":1}"#]
    {
        let error = target.rejection(&target.with_header_text(again));
        assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Header { .. })), "{again}: {error}");
    }
    target.rejection(&target.with_header_text(&format!(r#","kid":"{kid}""#)));
    for again in [
        r#","exp":9999999999"#,
        r#","e\u0078p":9999999999"#,
        r#","sub":"admin""#,
        r#","scope":["admin:all:*"]"#,
        r#","x":{"a":1,"a":2}"#,
        r#","x":[[{"a":{"b":0,"b":0}}]]"#,
        r#","":0,"":0"#,
    ] {
        let error = target.rejection(&target.with_payload_text(again));
        assert!(
            matches!(&error, VerifyError::Malformed(TokenFormatError::Claims { message }) if message.contains("duplicate"))
        );
    }
}

#[test]
fn rejects_duplicate_members_in_delegation_record() {
    let mut target = Target::new();
    target.claims = target.issuer.delegated(&target.claims, &["read:data:7"]);
    target.assert_accepted(&target.token());
    let payload = target.payload().to_string();
    let twice = payload.replacen(r#"{"agent":"#, r#"{"agent":"spiffe://x/agent/o/t/0123456789abcdef","agent":"#, 1);
    assert_ne!(twice, payload);
    let error = target.rejection(&target.signed(target.header().to_string(), twice));
    assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })), "{error}");
}

#[test]
fn accepts_nesting_of_16_and_rejects_17() {
    let target = Target::new();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        // The object itself is the first level.
        let member = |depth: usize| {
            let (open, close) = (open.repeat(depth - 1), close.repeat(depth - 1));
            format!(r#","x":{open}1{close}"#).replace(":}", ":1}")
        };
        target.assert_accepted(&target.with_header_text(&member(16)));
        target.assert_accepted(&target.with_payload_text(&member(16)));
        let header = target.rejection(&target.with_header_text(&member(17)));
        assert!(matches!(header, VerifyError::Malformed(TokenFormatError::Header { .. })));
        let payload = target.rejection(&target.with_payload_text(&member(17)));
        assert!(matches!(payload, VerifyError::Malformed(TokenFormatError::Claims { .. })));
    }
}

#[test]
fn accepts_tokens_of_8_kib_and_rejects_longer() {
    let target = Target::new();
    let of_length = |length: usize| {
        // Base64 skips every fourth length: the header makes up for it.
        let pads = (0..4).flat_map(|h| (5000..6000).map(move |p| (h, p)));
        pads.map(|(h, p)| (target.header().to_string() + &" ".repeat(h), p))
            .find(|(header, p)| {
                let payload = target.payload().to_string().len() + p;
                BASE64URL_NOPAD.encode_len(header.len()) + BASE64URL_NOPAD.encode_len(payload) + 88 == length
            })
            .map(|(header, p)| target.signed(header, target.payload().to_string() + &" ".repeat(p)))
            .unwrap()
    };
    assert_eq!(MAX_TOKEN_LENGTH, 8192);
    for length in [8190, 8191, 8192] {
        let token = of_length(length);
        assert_eq!(token.len(), length);
        target.assert_accepted(&token);
    }
    let length = 8193;
    assert_eq!(target.rejection(&of_length(length)), VerifyError::TooLong { length, limit: 8192 });
    let flood = "A".repeat(10_000_000);
    assert_eq!(target.rejection(&flood), VerifyError::TooLong { length: flood.len(), limit: 8192 });
}

#[test]
fn rejects_lists_in_place_of_objects() {
    let target = Target::new();
    let (header, payload) = (target.header(), target.payload());
    // Every member in the order in which our types declare them.
    let header_list = json!([header["alg"], header["typ"], header["kid"]]).to_string();
    let error = target.rejection(&target.signed(&header_list, payload.to_string()));
    assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Header { .. })));
    let members = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "task_id", "orch_id", "sid"];
    let mut claims: Vec<Value> = members.iter().map(|member| payload[*member].clone()).collect();
    claims[2] = json!([]);
    claims.extend([json!([]), Value::Null]);
    let error = target.rejection(&target.signed(header.to_string(), Value::from(claims).to_string()));
    assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })));
}

#[test]
fn rejects_list_in_place_of_delegation_record() {
    let mut target = Target::new();
    target.claims = target.issuer.delegated(&target.claims, &["read:data:7"]);
    let record = &target.payload()["delegation_chain"][0];
    let members = ["agent", "scope", "delegated_at", "delegate", "sid", "expires_at", "signature"];
    let list: Vec<Value> = members.iter().map(|member| record[*member].clone()).collect();
    let error = target.rejection(&target.with_claim("delegation_chain", json!([list])));
    assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })), "{error}");
}

#[test]
fn rejects_parts_other_than_one_json_object() {
    let target = Target::new();
    let good = (target.header().to_string().into_bytes(), target.payload().to_string().into_bytes());
    let spoilt = |good: &[u8]| -> Vec<Vec<u8>> {
        vec![
            Vec::new(),
            b"null".to_vec(),
            b"\"x\"".to_vec(),
            [b"\xef\xbb\xbf", good].concat(),
            [good, b"{}"].concat(),
            [good, b"x"].concat(),
            [good, b"\0"].concat(),
            [b"\x0c", good].concat(),
            good[..good.len() - 1].to_vec(),
            [&good[..good.len() - 1], b",}"].concat(),
            [&good[..good.len() - 1], b",\"x\":NaN}"].concat(),
            [&good[..good.len() - 1], b",\"x\":1e999}"].concat(),
            [&good[..good.len() - 1], b",\"x\":01}"].concat(),
            [&good[..good.len() - 1], b",\"x\":\"\\ud800\"}"].concat(),
            [&good[..good.len() - 1], b",\"x\":\"\xff\"}"].concat(),
            [&good[..good.len() - 1], b",\"x\":\"\xc0\x80\"}"].concat(),
            [&good[..good.len() - 1], b"/**/}"].concat(),
        ]
    };
    for header in spoilt(&good.0) {
        let error = target.rejection(&target.signed(&header, &good.1));
        assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Header { .. })), "{error}");
    }
    for payload in spoilt(&good.1) {
        let error = target.rejection(&target.signed(&good.0, &payload));
        assert!(matches!(error, VerifyError::Malformed(TokenFormatError::Claims { .. })), "{error}");
    }
    // Insignificant white space in JSON is signed too.
    target.assert_accepted(&target.signed([b" ", &good.0[..], b"\n"].concat(), [b"\t", &good.1[..], b"\r\n"].concat()));
}

#[test]
fn reports_bad_signature_before_malformed_claims() {
    let target = Target::new();
    let forger = SigningKey::from_seed(&[9; 32]).unwrap();
    for payload in ["", "{}", "[", r#"{"iss":"x","exp":0}"#] {
        let input = format!("{}.{}", encode(target.header().to_string()), encode(payload));
        let token = format!("{input}.{}", encode(forger.sign(input.as_bytes())));
        assert_eq!(target.rejection(&token), VerifyError::BadSignature);
    }
}
