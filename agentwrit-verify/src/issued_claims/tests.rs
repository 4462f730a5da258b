use proptest::prelude::*;

use super::{parse, plain_length};
use crate::{claims::ClaimSet, jws::MAX_DEPTH};

/// Parser of every form: the oracle.
fn parse_strictly(text: &[u8]) -> Option<ClaimSet> {
    agentwrit_json::object_from_slice(text, MAX_DEPTH).ok()
}

/// Checks that what this parser accepts, the strict one accepts with the same claims.
fn check(text: &[u8]) {
    let parsed = parse(text);
    assert!(parsed.is_none() || parsed == parse_strictly(text), "{}", String::from_utf8_lossy(text));
}

fn agent(n: u8) -> String {
    format!("spiffe://d/agent/orch/task/{}", format!("0{n}").repeat(8))
}

fn record(from: u8, to: u8) -> String {
    format!(
        r#"{{"agent":"{}","scope":["a:b:c","d:e:*"],"delegated_at":"2026-01-01T00:00:0{from}Z","delegate":"{}","sid":"{}","expires_at":"2026-01-01T00:10:00Z","signature":"{}"}}"#,
        agent(from),
        agent(to),
        "5a".repeat(16),
        "c0".repeat(64),
    )
}

/// Returns members in the order of an issuer: name, and values of the right form.
fn members() -> Vec<(&'static str, Vec<String>)> {
    let text = |text: &str| format!("\"{text}\"");
    vec![
        ("iss", vec![text("https://issuer.test"), text("é"), text("")]),
        ("sub", vec![text(&agent(1)), text("admin"), text("app:app-desk-0a1b2c")]),
        ("aud", vec![r#"["https://a.test","b"]"#.into(), "[]".into()]),
        ("exp", vec!["1767225900".into(), "0".into(), u64::MAX.to_string()]),
        ("nbf", vec!["1767225600".into()]),
        ("iat", vec!["1767225600".into()]),
        ("jti", vec![text(&"0a".repeat(16))]),
        ("scope", vec![r#"["read:data:*","a:b:c:d"]"#.into(), r#"["a:b:c","a:b:c"]"#.into()]),
        ("task_id", vec![text("task-1")]),
        ("orch_id", vec![text("orch")]),
        ("sid", vec![text(&"0b".repeat(16))]),
        ("delegation_chain", vec![format!("[{},{}]", record(1, 2), record(2, 3)), "[]".into()]),
        ("chain_hash", vec![text(&"ab".repeat(32)), text("~")]),
        ("cnf", vec![r#"{"jkt":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}"#.into()]),
    ]
}

const REQUIRED: [&str; 8] = ["iss", "sub", "exp", "nbf", "iat", "jti", "scope", "sid"];

fn joined(members: &[(String, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    members.join(",")
}

fn object(members: &[(String, String)]) -> String {
    format!("{{{}}}", joined(members))
}

/// Claims of the form that this parser accepts: any order, optional members left out.
fn issued() -> impl Strategy<Value = String> {
    let one = |(name, values): (&'static str, Vec<String>)| {
        let least = f64::from(u8::from(REQUIRED.contains(&name))).max(0.7);
        (prop::bool::weighted(least), prop::sample::select(values))
            .prop_map(move |(is_present, value)| is_present.then(|| (name.to_owned(), value)))
    };
    members()
        .into_iter()
        .map(one)
        .collect::<Vec<_>>()
        .prop_map(|members| members.into_iter().flatten().collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|members| object(&members))
}

/// Values of other forms and types, valid JSON or not.
const OTHER_VALUES: [&str; 40] = [
    "null",
    "true",
    "{}",
    "[]",
    "[[]]",
    "[{}]",
    "-1",
    "-0",
    "00",
    "01",
    "1.0",
    "1.5",
    "1e3",
    "1E3",
    "18446744073709551616",
    "1 ",
    " 1",
    "1_0",
    "+1",
    "\"\"",
    "\"\\u0061\"",
    "\"\\\"\"",
    "\"a\\\\\"",
    "\"\\\\\"",
    "\"\n\"",
    "\"\u{0}\"",
    "\"\u{7f}\"",
    "\"é\"",
    "\"\\ud800\"",
    "'a'",
    "[\"a:b:c\",]",
    "[,\"a:b:c\"]",
    "[\"a:b:c\" ]",
    "[\"a:b:c\",1]",
    "[\"a:b:c\"",
    "{\"jkt\":1}",
    "{\"jkt\":\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\",\"x\":1}",
    "[\"a:b:\\u0063\"]",
    "\"spiffe://d/agent/o/t/\\u0030\"",
    "\"\\",
];

/// Claims of which members are of another form, repeated or unknown.
fn near_issued() -> impl Strategy<Value = String> {
    let pool: Vec<(String, String)> = members()
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(move |value| (name.to_owned(), value)))
        .collect();
    let names: Vec<String> = members()
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .chain(["x", "Iss", "i\\u0073s", "", "exp "].map(str::to_owned))
        .collect();
    let other = (prop::sample::select(names), prop::sample::select(OTHER_VALUES.to_vec()))
        .prop_map(|(name, value)| (name, value.to_owned()));
    let added = prop::collection::vec(prop_oneof![other, prop::sample::select(pool)], 0..3);
    (added, any::<prop::sample::Index>()).prop_flat_map(|(added, place)| {
        issued().prop_map(move |text| {
            let commas: Vec<usize> = text.match_indices(',').map(|(at, _)| at).collect();
            let (before, after) = text.split_at(commas[place.index(commas.len())]);
            if added.is_empty() { text } else { format!("{before},{}{after}", joined(&added)) }
        })
    })
}

/// Change of one byte.
#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(u8),
    Remove,
    RemoveRest,
    RepeatNext(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes =
        br#"{}[]",:\ 0123456789abZz-+.eEnul*/u"#.iter().copied().chain([b'\n', 0, 0x1f, 0x7f, 0x80, 0xc3, 0xff]);
    let byte = prop::sample::select(bytes.collect::<Vec<_>>());
    prop_oneof![
        4 => byte.clone().prop_map(Change::Replace),
        4 => byte.prop_map(Change::Insert),
        2 => Just(Change::Remove),
        1 => Just(Change::RemoveRest),
        1 => (1_usize..40).prop_map(Change::RepeatNext),
    ]
}

fn changed(text: &str, changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (place, change) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = place.index(bytes.len());
        match change {
            Change::Replace(byte) => bytes[at] = *byte,
            Change::Insert(byte) => bytes.insert(at, *byte),
            Change::Remove => drop(bytes.remove(at)),
            Change::RemoveRest => bytes.truncate(at),
            Change::RepeatNext(length) => {
                let next = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, next);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn parses_issued_claims_like_strict_parser(text in issued()) {
        prop_assert_eq!(parse(text.as_bytes()), Some(parse_strictly(text.as_bytes()).unwrap()));
    }

    #[test]
    fn accepts_no_other_members_than_strict_parser(text in near_issued()) {
        check(text.as_bytes());
    }

    #[test]
    fn accepts_no_changed_text_that_strict_parser_rejects(
        text in issued(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..4),
    ) {
        check(&changed(&text, &changes));
    }
}

proptest! {
    #[test]
    fn plain_length_ends_at_first_special_byte(text in prop::collection::vec(prop_oneof![
        any::<u8>(), 0x1e_u8..=0x23, 0x5b_u8..=0x5d, 0x7f_u8..=0xa2, Just(0xdc_u8),
    ], 0..40)) {
        let expected = text.iter().position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\');
        prop_assert_eq!(plain_length(&text), expected.unwrap_or(text.len()));
    }
}

#[test]
fn leaves_every_other_form_to_strict_parser() {
    let members: Vec<(String, String)> =
        members().into_iter().map(|(name, values)| (name.to_owned(), values[0].clone())).collect();
    let text = object(&members);
    assert!(parse(text.as_bytes()).is_some());
    for (index, (name, value)) in members.iter().enumerate() {
        for other in OTHER_VALUES {
            let mut members = members.clone();
            members[index].1 = other.to_owned();
            check(object(&members).as_bytes());
        }
        let mut without = members.clone();
        without.remove(index);
        let without = object(&without);
        assert_eq!(parse(without.as_bytes()), parse_strictly(without.as_bytes()), "{name}");
        assert_eq!(parse(without.as_bytes()).is_none(), REQUIRED.contains(&name.as_str()), "{name}");
        let mut twice = members.clone();
        twice.push((name.clone(), value.clone()));
        assert_eq!(parse(object(&twice).as_bytes()), None, "{name} twice");
    }
    for length in 0..text.len() {
        assert_eq!(parse(&text.as_bytes()[..length]), None, "{length}");
    }
    let spaced: Vec<String> = text
        .match_indices([',', ':', '{', '}', '[', ']'])
        .map(|(at, _)| text.split_at(at))
        .map(|(before, after)| format!("{before} {after}"))
        .collect();
    for text in spaced.iter().chain([&format!("{text}\n"), &format!("{text}{text}"), &format!("[{text}]")]) {
        check(text.as_bytes());
    }
}

#[test]
fn rejects_65_scopes_and_accepts_64() {
    for (count, is_accepted) in [(64, true), (65, false)] {
        let scopes: Vec<String> = (0..count).map(|n| format!("\"a:b:{n}\"")).collect();
        let mut members = members();
        members.retain(|(name, _)| REQUIRED.contains(name));
        let members: Vec<(String, String)> = members
            .into_iter()
            .map(|(name, values)| {
                (name.to_owned(), if name == "scope" { format!("[{}]", scopes.join(",")) } else { values[0].clone() })
            })
            .collect();
        let text = object(&members);
        assert_eq!(parse(text.as_bytes()).is_some(), is_accepted, "{count}");
        assert_eq!(parse_strictly(text.as_bytes()).is_some(), is_accepted, "{count}");
    }
}
