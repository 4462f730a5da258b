use serde_json::Value;

use super::*;

fn read(text: &str) -> Result<Value, String> {
    object_from_slice(text.as_bytes(), 4).map_err(|error| error.to_string())
}

#[test]
fn reads_objects() {
    assert_eq!(read(" {\"a\":[1,-2,3.5,true,null,\"x\"],\"b\":{\"a\":1}} \n").unwrap()["b"]["a"], 1);
}

#[test]
fn rejects_duplicate_members_at_any_depth_and_with_escapes() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"a":2}]}"#, r#"{"a":1,"\u0061":2}"#] {
        assert!(read(text).unwrap_err().contains("duplicate field `a`"), "{text}");
    }
    let many: Vec<String> = (0..100).map(|i| format!("\"m{i}\":0,")).collect();
    assert!(read(&format!("{{{}\"m99\":1}}", many.concat())).unwrap_err().contains("duplicate field `m99`"));
}

#[test]
fn rejects_nesting_beyond_limit() {
    assert!(read(r#"{"a":[[[1]]]}"#).is_ok());
    assert!(read(r#"{"a":[[[[1]]]]}"#).unwrap_err().contains("nested too deeply"));
    let bomb = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(read(&bomb).unwrap_err().contains("nested too deeply"));
}

#[test]
fn rejects_text_other_than_one_object() {
    for text in ["", "  ", "1", "\"a\"", "[]", "null", "{} {}", "{}x", "{", "{\"a\":}", "{\"a\":1e999}", "\u{feff}{}"] {
        assert!(read(text).is_err(), "{text:?}");
    }
    assert!(object_from_slice::<Value>(b"{\"a\":\"\xff\"}", 4).is_err());
}

#[test]
fn rejects_list_in_place_of_inner_object() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Point {
        x: u8,
    }
    let inner = |text: &str| serde_json::from_str::<Object<Point>>(text).ok();
    assert_eq!(inner(r#"{"x":1}"#), Some(Object(Point { x: 1 })));
    assert_eq!(inner("[1]"), None);
}

/// Reads the text and drops it, as an unknown member is dropped.
fn check(text: &str) -> Result<(), String> {
    object_from_slice::<IsPresent>(text.as_bytes(), 16).map(drop).map_err(|error| error.to_string())
}

#[test]
fn rejects_duplicate_among_many_members_that_are_dropped() {
    let many: Vec<String> = (0..5000).map(|i| format!("\"n{i}\":0,\"\\u006d{i}\":0,")).collect();
    let many = many.concat();
    assert_eq!(check(&format!("{{\"z\":[{{{many}\"last\":0}}]}}")), Ok(()));
    for (name, found) in [("n0", "n0"), ("n4999", "n4999"), ("\\u006e2500", "n2500"), ("m4999", "m4999")] {
        let error = check(&format!("{{\"z\":[{{{many}\"{name}\":0}}]}}")).unwrap_err();
        assert!(error.contains(&format!("duplicate field `{found}`")), "{name}: {error}");
    }
}

#[test]
fn rejects_malformed_values_of_dropped_members() {
    for value in [
        "1e999",
        "01",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"\u{1}\"",
        "tru",
        "[1,]",
        "{\"a\":1,}",
        "{1:1}",
        "{\"a\":1,\"a\":1}",
    ] {
        assert!(check(&format!("{{\"z\":{value}}}")).is_err(), "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn rejects_exactly_the_objects_with_duplicate_names(names in proptest::collection::vec("[a-d]{1,3}", 0..120)) {
        let mut known = std::collections::HashSet::new();
        let distinct = names.iter().all(|name| known.insert(name));
        let written = |(index, name): (usize, &String)| match index % 3 {
            0 => {
                let mut rest = name.chars();
                format!("\"\\u{:04x}{}\":0", u32::from(rest.next().unwrap()), rest.as_str())
            }
            _ => format!("\"{name}\":0"),
        };
        let members: Vec<String> = names.iter().enumerate().map(written).collect();
        proptest::prop_assert_eq!(check(&format!("{{{}}}", members.join(","))).is_ok(), distinct);
    }
}
