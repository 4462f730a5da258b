//! Memory for reading hostile JSON, as a multiple of the length of the text.
#![expect(clippy::unwrap_used, reason = "an unexpected value fails the test")]

use serde::Deserialize;

const LENGTH: usize = 1024 * 1024;

#[derive(Debug, Default, Deserialize)]
struct Named {
    #[serde(default)]
    a: u64,
}

fn repeated(start: &str, part: impl Fn(usize) -> String, end: &str) -> String {
    let mut text = start.to_owned();
    for index in 0.. {
        let part = part(index);
        if text.len() + part.len() + end.len() > LENGTH {
            break;
        }
        text.push_str(&part);
    }
    text + end
}

/// Returns the shortest unused member name.
fn name(mut index: usize) -> String {
    let mut name = String::new();
    loop {
        name.push(char::from(b'#' + u8::try_from(index % 56).unwrap()));
        index /= 56;
        if index == 0 {
            return name;
        }
    }
}

#[test]
fn allocates_at_most_three_times_text_length() {
    for (kind, text) in [
        ("list of objects", repeated(r#"{"z":[{"":0}"#, |_| String::from(r#",{"":0}"#), "]}")),
        ("list of lists", repeated(r#"{"z":[[]"#, |_| String::from(",[]"), "]}")),
        ("many names", repeated(r#"{"z":{"":0"#, |index| format!(r#","{}":0"#, name(index)), "}}")),
        ("many names with escapes", repeated(r#"{"z":{"":0"#, |index| format!(r#","\n{}":0"#, name(index)), "}}")),
        ("many unknown members", repeated(r#"{"":0"#, |index| format!(r#","{}":0"#, name(index)), "}")),
        ("string with escapes", repeated(r#"{"z":""#, |_| String::from("\\n"), "\"}")),
        (
            "string with one escape",
            repeated(r#"{"z":""#, |index| if index == LENGTH / 2 { "\\n".into() } else { "x".into() }, "\"}"),
        ),
        (
            "long name with escapes",
            repeated(r#"{""#, |index| if index == 700_000 { "\\n".into() } else { "x".into() }, "\":0}"),
        ),
        (
            "two long names",
            repeated(r#"{"\n"#, |index| if index == 500_000 { "\":0,\"\\n".into() } else { "x".into() }, "\":0}"),
        ),
    ] {
        let mut outcome = None;
        let allocated = allocation_counter::measure(|| {
            outcome = Some(agentwrit_json::object_from_slice::<Named>(text.as_bytes(), 16));
        });
        assert_eq!(outcome.unwrap().unwrap().a, 0, "{kind}");
        let most = u64::try_from(3 * text.len()).unwrap();
        assert!(allocated.bytes_max <= most, "{kind}: {} bytes for {}", allocated.bytes_max, text.len());
    }
}
