//! Untrusted text in audit events and on terminals.
//!
//! The `detail` of an event is one line of `key=value` words: [`escaped`] and [`quoted`] keep a value from forging another word
//! or line, and [`printable`] keeps it from controlling the terminal that shows it.

use std::{borrow::Cow, fmt::Write};

/// Escapes line breaks, control and direction-changing characters, and cuts `text` after about `limit` bytes.
#[must_use]
pub fn escaped(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit && text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'\\') {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        if safe.len() >= limit {
            safe.push('…');
            break;
        }
        push_escaped(&mut safe, character);
    }
    Cow::Owned(safe)
}

/// Escapes the characters of `text` that would move a terminal's cursor, start a line or change the direction.
///
/// A backslash stays as it is where nothing else needs an escape.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) { safe.push(character) } else { push_escaped(&mut safe, character) }
    }
    Cow::Owned(safe)
}

/// Returns true for a character that a terminal shows and does not act on.
#[must_use]
pub fn is_printable(character: char) -> bool {
    !character.is_control() && !changes_lines_or_direction(character)
}

/// Returns `value` as one word: quoted and escaped unless it is plain, and cut after about `limit` bytes.
#[must_use]
pub fn quoted(value: &str, limit: usize) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:/@*_+,-".contains(&b);
    if !value.is_empty() && value.len() <= limit && value.bytes().all(plain) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("\"{}\"", escaped(value, limit).replace('"', "\\\"")))
}

fn push_escaped(safe: &mut String, character: char) {
    if character == '\\' {
        safe.push_str("\\\\");
    } else if is_printable(character) {
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
    fn escapes_line_breaks_and_direction_changes() {
        assert_eq!(escaped("plain text", 64), "plain text");
        assert_eq!(escaped("a\r\nb\u{2028}\u{202e}\0\\", 64), r"a\u{d}\u{a}b\u{2028}\u{202e}\u{0}\\");
        assert_eq!(escaped("größe", 64), "größe");
        assert_eq!(escaped(&"é".repeat(100), 8), "éééé…");
    }

    #[test]
    fn escapes_terminal_control_characters() {
        assert_eq!(printable(r"größe \u{a} ok"), r"größe \u{a} ok");
        assert_eq!(printable("\u{1b}[2Jx\u{9b}1m\r\u{202e}"), r"\u{1b}[2Jx\u{9b}1m\u{d}\u{202e}");
    }

    #[test]
    fn quotes_values_that_could_forge_a_word() {
        assert_eq!(quoted("read:data:*", 64), "read:data:*");
        assert_eq!(quoted("x count=9", 64), "\"x count=9\"");
        assert_eq!(quoted("\" y=\"", 64), r#""\" y=\"""#);
        assert_eq!(quoted(r#"\""#, 64), r#""\\\"""#);
        assert_eq!(quoted("", 64), "\"\"");
    }
}
