//! Report of a run.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    histogram::Histogram,
    process,
    tally::{Tally, per_second},
};

/// Result of a scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scenario: &'static str,
    broker: String,
    machine: String,
    operations: Vec<Row>,
    figures: Vec<Figure>,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
}

/// Figures of one operation. Times are in milliseconds.
#[derive(Debug, Serialize)]
struct Row {
    operation: String,
    clients: u16,
    count: u64,
    seconds: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// Any other figure.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    pub(crate) fn new(scenario: &'static str, broker: String) -> Self {
        let machine = process::machine();
        Self { scenario, broker, machine, operations: vec![], figures: vec![], failed: 0, first_failure: None }
    }

    /// Adds every operation of a run, named with this suffix.
    pub(crate) fn add(&mut self, tally: &Tally, clients: u16, suffix: &str) {
        for (operation, times) in tally.operations() {
            self.operations.push(Row::of(format!("{operation}{suffix}"), times, tally.took, clients));
        }
        self.failed += tally.failed;
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&tally.first_failure);
        }
    }

    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit });
    }

    /// Returns `true` if every response was the expected one.
    pub(crate) fn is_clean(&self) -> bool {
        self.failed == 0
    }

    pub(crate) fn to_json(&self) -> String {
        format!("{:#}", json!(self).take_rounded())
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{} against {}\n{}\n\n", self.scenario, self.broker, self.machine);
        let widest = self.operations.iter().map(|row| row.operation.chars().count()).max().unwrap_or(0).max(9);
        let mut line = |cells: [&str; 7]| {
            let [operation, clients, count, rate, p50, p99, max] = cells;
            // Writing to a string does not fail.
            writeln!(text, "{operation:widest$} {clients:>7} {count:>9} {rate:>10} {p50:>9} {p99:>9} {max:>9}")
                .unwrap_or_default();
        };
        line(["operation", "clients", "count", "per second", "p50 ms", "p99 ms", "max ms"]);
        for row in &self.operations {
            let (clients, count) = (row.clients.to_string(), row.count.to_string());
            let (p50, p99, max) =
                (format!("{:.3}", row.p50_ms), format!("{:.3}", row.p99_ms), format!("{:.3}", row.max_ms));
            line([&row.operation, &clients, &count, &format!("{:.0}", row.per_second), &p50, &p99, &max]);
        }
        text.push('\n');
        for Figure { name, value, unit } in &self.figures {
            writeln!(text, "{name}: {value:.2} {unit}").unwrap_or_default();
        }
        if let Some(failure) = &self.first_failure {
            writeln!(text, "{} FAILED, the first: {failure}", self.failed).unwrap_or_default();
        }
        text.trim_end().to_owned()
    }
}

impl Row {
    fn of(operation: String, times: &Histogram, took: Duration, clients: u16) -> Self {
        Self {
            operation,
            clients,
            count: times.count(),
            seconds: took.as_secs_f64(),
            per_second: per_second(times.count(), took),
            p50_ms: milliseconds(times.quantile(500)),
            p99_ms: milliseconds(times.quantile(990)),
            max_ms: milliseconds(times.max()),
        }
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Converts bytes to mebibytes.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

trait Rounded {
    fn take_rounded(self) -> Value;
}

impl Rounded for Value {
    /// Rounds to three decimals: more would be noise.
    fn take_rounded(self) -> Value {
        match self {
            Value::Number(number) if number.is_f64() => {
                json!((number.as_f64().unwrap_or_default() * 1000.0).round() / 1000.0)
            }
            Value::Array(items) => items.into_iter().map(Rounded::take_rounded).collect(),
            Value::Object(members) => members.into_iter().map(|(name, member)| (name, member.take_rounded())).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut tally = Tally::default();
        tally.took = Duration::from_secs(2);
        for micros in 1..=100 {
            tally.record("renew", Duration::from_micros(micros * 10));
        }
        let mut report = Report { machine: "a machine".into(), ..Report::new("renew", "http://127.0.0.1:1".into()) };
        report.add(&tally, 64, "");
        report.figure("renew / health", 0.123_456, "");
        report
    }

    #[test]
    fn json_has_every_figure() {
        let json: Value = serde_json::from_str(&report().to_json()).unwrap();
        let row = &json["operations"][0];
        assert_eq!((&row["operation"], &row["clients"], &row["count"]), (&json!("renew"), &json!(64), &json!(100)));
        assert_eq!((&row["per_second"], &row["max_ms"]), (&json!(50.0), &json!(1.0)));
        assert_eq!((&json["figures"][0]["value"], &json["failed"]), (&json!(0.123), &json!(0)));
    }

    #[test]
    fn columns_of_text_line_up() {
        let text = report().to_text();
        let widths: Vec<usize> = text.lines().skip(3).take(2).map(str::len).collect();
        assert_eq!(widths.first(), widths.last(), "{text}");
        assert!(text.contains("renew / health: 0.12"), "{text}");
    }

    #[test]
    fn report_shows_failures() {
        let mut report = report();
        assert!(report.is_clean());
        let mut tally = Tally::default();
        tally.fail(&crate::scenario::LoadError::Invalid);
        report.add(&tally, 1, "");
        assert!(!report.is_clean() && report.to_text().contains("1 FAILED"));
    }
}
