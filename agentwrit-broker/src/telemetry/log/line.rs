//! Format of a log line.

use std::fmt::Write as _;

use agentwrit_verify::UnixTime;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::Level;

use super::fields::Fields;

/// LEVEL of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Fail,
    Warn,
    Ok,
    Trace,
}

impl Severity {
    pub(super) fn of(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Fail,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Ok,
            _ => Self::Trace,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "FAIL",
            Self::Warn => "WARN",
            Self::Ok => "OK",
            Self::Trace => "TRACE",
        }
    }
}

/// An event on its way to becoming text.
pub(super) struct Line<'a> {
    pub(super) severity: Severity,
    pub(super) target: &'a str,
    pub(super) at: UnixTime,
    pub(super) fields: &'a Fields,
}

impl Line<'_> {
    pub(super) fn to_text(&self) -> String {
        let mut line = format!("[AA:{}:{}] {} | ", self.module(), self.severity.as_str(), self.timestamp());
        escape(&mut line, self.component(), MAX_VALUE, &['|']);
        line.push_str(" | ");
        escape(&mut line, &self.fields.message, MAX_MESSAGE, &['|']);
        for (index, (name, value)) in self.fields.others.iter().enumerate() {
            line.push_str(if index == 0 { " | " } else { ", " });
            line.push_str(name);
            line.push('=');
            match value {
                Value::String(text) => push_value(&mut line, text),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    line.push_str(&value.to_string());
                }
            }
        }
        line
    }

    pub(super) fn to_json(&self) -> String {
        let mut members = Map::new();
        let mut text = |name: &str, text: &str, limit| {
            members.insert(name.into(), Value::String(cut(text, limit)));
        };
        text("timestamp", &self.timestamp(), MAX_VALUE);
        text("level", self.severity.as_str(), MAX_VALUE);
        text("module", &self.module(), MAX_VALUE);
        text("component", self.component(), MAX_VALUE);
        text("message", &self.fields.message, MAX_MESSAGE);
        let fields = self.fields.others.iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.clone(), |text| Value::String(cut(text, MAX_VALUE)));
            ((*name).to_owned(), value)
        });
        members.insert("fields".into(), Value::Object(fields.collect()));
        escape_json(&Value::Object(members).to_string())
    }

    /// `agentwrit_broker::http::apps` is `HTTP`, `agentwrit_tower::…` is `TOWER`, `hyper::…` is `HYPER`.
    fn module(&self) -> String {
        let mut segments = self.target.split("::");
        let krate = segments.next().unwrap_or_default();
        let module = match krate.strip_prefix("agentwrit_") {
            Some("broker") => segments.next().unwrap_or("broker"),
            Some(other) => other,
            None => krate,
        };
        module.to_ascii_uppercase()
    }

    fn component(&self) -> &str {
        let last = || self.target.rsplit("::").next().unwrap_or_default().trim_start_matches("agentwrit_");
        self.fields.component.as_deref().unwrap_or_else(last)
    }

    fn timestamp(&self) -> String {
        i64::try_from(self.at.elapsed_since_epoch().as_millis())
            .ok()
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())
            .map_or_else(|| self.at.to_rfc3339(), |timestamp| format!("{timestamp:.3}"))
    }
}

/// In characters.
const MAX_VALUE: usize = 512;
const MAX_MESSAGE: usize = 2_048;

/// Appends a value: bare where it is unambiguous, quoted otherwise.
fn push_value(line: &mut String, text: &str) {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-._~:/@+*%?&#;!()[]{}<>$^'".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        escape(line, text, MAX_VALUE, &[]);
    } else {
        line.push('"');
        escape(line, text, MAX_VALUE, &['"', '\\']);
        line.push('"');
    }
}

/// Appends `text` so that it cannot end the line, reorder it on a screen or contain one of `structure`.
fn escape(line: &mut String, text: &str, limit: usize, structure: &[char]) {
    for (index, letter) in text.chars().enumerate() {
        if index == limit {
            line.push('…');
            return;
        }
        if matches!(letter, '"' | '\\') && structure.contains(&letter) {
            line.extend(['\\', letter]);
        } else if letter.is_control() {
            line.extend(letter.escape_default());
        } else if is_deceptive(letter) || structure.contains(&letter) {
            line.extend(letter.escape_unicode());
        } else {
            line.push(letter);
        }
    }
}

/// Line breaks that are no control characters, and marks that reorder or hide text on a screen.
fn is_deceptive(letter: char) -> bool {
    matches!(letter,
        '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
}

/// JSON need not escape DEL, the C1 controls (which terminals obey) and deceptive marks; this escapes them in its
/// strings, the only place where they can be.
fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_control() || is_deceptive(letter) {
            // All of them lie in the basic plane. Writing to a string does not fail.
            write!(escaped, "\\u{:04x}", u32::from(letter)).ok();
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => text.get(..end).into_iter().chain(["…"]).collect(),
        None => text.to_owned(),
    }
}
