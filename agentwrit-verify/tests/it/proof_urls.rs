//! The normal form of `htu` against that of the `url` crate, which follows the WHATWG standard.
//!
//! Both agree for http and https URLs of the characters below. They differ in IPv4 addresses (`0x7f.1`, also within IPv6), encoded and
//! international host names, and characters that a URI may not have: those are refused here.

use agentwrit_verify::proof::ExternalUrl;
use proptest::prelude::*;
use url::Url;

/// The URL without query and fragment as the `url` crate writes it, and encodings of unreserved characters decoded, which
/// that crate leaves alone.
fn by_whatwg(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    let authority_end = url[..url::Position::BeforePath].to_owned();
    let mut path = String::new();
    let mut rest = url.path();
    while let Some(at) = rest.find('%') {
        path.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3)?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.push_str(&digits.to_uppercase());
        }
        rest = &rest[at + 3..];
    }
    path.push_str(rest);
    Some(format!("{authority_end}{path}"))
}

fn segment() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[A-Za-z0-9._~!$&'()*+,;=:@-]{0,3}",
        2 => "%[0-9a-fA-F]{2}",
        1 => Just(String::from(".")),
        1 => Just(String::from("..")),
        1 => Just(String::from("%2e")),
        1 => Just(String::from("%2E.")),
    ];
    // The crate keeps a drive letter such as `a:` before `..` in every scheme, which WHATWG has for `file` only.
    let is_drive = |segment: &String| matches!(segment.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic());
    prop::collection::vec(piece, 0..3)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("drive letter", move |s| !is_drive(s))
}

prop_compose! {
    fn url()(
        scheme in "[hH][tT][tT][pP][sS]?",
        host in prop_oneof![
            "[a-zA-Z][a-zA-Z-]{0,5}x\\.[a-zA-Z]{2,4}",
            Just(String::from("192.0.2.1")),
            Just(String::from("[2001:DB8:0:0::1]")),
        ],
        port in prop_oneof!["", ":", ":443", ":80", ":0*[1-9][0-9]{0,3}"],
        segments in prop::collection::vec(segment(), 0..6),
    ) -> String {
        let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
        format!("{scheme}://{host}{port}{path}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn normal_form_is_that_of_the_url_crate(text in url()) {
        let ours = ExternalUrl::parse(&text).map(|url| url.to_string());
        let theirs = by_whatwg(&text).unwrap();
        prop_assert_eq!(ours.unwrap(), theirs.strip_suffix('/').unwrap_or(&theirs), "{}", text);
    }

    #[test]
    fn normal_form_is_its_own_normal_form(text in url()) {
        let once = ExternalUrl::parse(&text).unwrap();
        // One slash at the end is ignored: of a path of empty segments, one with each reading.
        prop_assume!(!once.as_str().ends_with('/'));
        prop_assert_eq!(ExternalUrl::parse(once.as_str()).unwrap(), once);
    }

    #[test]
    fn arbitrary_text_is_refused_or_read_as_the_url_crate_does(text in "https?://[ -~]{0,40}") {
        if let Ok(url) = ExternalUrl::parse(&text) {
            // Some of what it refuses a URI may have (`https://a_b.1`), never the reverse for an origin.
            if let Ok(theirs) = Url::parse(&text) {
                prop_assert_eq!(Url::parse(url.as_str()).unwrap().origin(), theirs.origin(), "{}", text);
            }
        }
    }
}
