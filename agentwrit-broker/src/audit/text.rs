//! Text from outside, made safe for a line of `key=value` words.

use std::{borrow::Cow, fmt::Write};

/// `text` without line breaks, control or direction-changing characters, and no longer than about `limit` bytes.
pub(super) fn escaped(text: &str, limit: usize) -> String {
    if text.len() <= limit && text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'\\') {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        if safe.len() >= limit {
            safe.push('…');
            break;
        }
        push_escaped(&mut safe, character);
    }
    safe
}

/// `text` for a person's terminal: nothing in it moves the cursor, starts a new line or changes the direction.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmless(character) { safe.push(character) } else { push_escaped(&mut safe, character) }
    }
    Cow::Owned(safe)
}

/// Whether a terminal does nothing but show it.
pub(crate) fn is_harmless(character: char) -> bool {
    !character.is_control() && !changes_lines_or_direction(character)
}

/// `value` as one word: quoted unless it is plain.
pub(super) fn word(value: &str, limit: usize) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:/@*_+,-".contains(&b);
    if !value.is_empty() && value.len() <= limit && value.bytes().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", escaped(value, limit).replace('"', "\\\""))
}

fn push_escaped(safe: &mut String, character: char) {
    if character == '\\' {
        safe.push_str("\\\\");
    } else if is_harmless(character) {
        safe.push(character);
    } else {
        // Writing to a `String` cannot fail.
        write!(safe, "\\u{{{:x}}}", u32::from(character)).unwrap_or_default();
    }
}

fn changes_lines_or_direction(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_out_of_its_line() {
        assert_eq!(escaped("plain text", 64), "plain text");
        assert_eq!(escaped("a\r\nb\u{2028}\u{202e}\0\\", 64), r"a\u{d}\u{a}b\u{2028}\u{202e}\u{0}\\");
        assert_eq!(escaped("größe", 64), "größe");
        assert_eq!(escaped(&"é".repeat(100), 8), "éééé…");
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        assert_eq!(printable(r"größe \u{a} ok"), r"größe \u{a} ok");
        assert_eq!(printable("\u{1b}[2Jx\u{9b}1m\r\u{202e}"), r"\u{1b}[2Jx\u{9b}1m\u{d}\u{202e}");
    }

    #[test]
    fn no_value_forges_a_word() {
        assert_eq!(word("read:data:*", 64), "read:data:*");
        assert_eq!(word("x count=9", 64), "\"x count=9\"");
        assert_eq!(word("\" y=\"", 64), r#""\" y=\"""#);
        assert_eq!(word(r#"\""#, 64), r#""\\\"""#);
        assert_eq!(word("", 64), "\"\"");
    }
}
