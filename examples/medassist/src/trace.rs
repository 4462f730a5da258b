//! Trace: a line per step with the expected outcome, the actual one, and its meaning.

use std::fmt;

use http::StatusCode;

/// Outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "who prints a trace must show each")]
pub enum Outcome {
    /// The hospital, or the broker in a rejection, responded with this status.
    Status(StatusCode),
    /// The broker granted the request.
    Granted,
    /// There was no response.
    NoResponse,
}

/// Step of the encounter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The client.
    pub who: &'static str,
    /// The request to the hospital or to the broker.
    pub what: String,
    /// The expected outcome.
    pub expected: Outcome,
    /// The actual outcome.
    pub actual: Outcome,
    /// The meaning of the outcome.
    pub shows: &'static str,
    /// A summary of the response.
    pub summary: String,
}

/// Steps so far.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Vec<Step>,
    is_printed: bool,
}

impl Trace {
    /// Creates a trace that prints each step at once.
    #[must_use]
    pub fn printed() -> Self {
        Self { steps: Vec::new(), is_printed: true }
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns `true` if every step had the expected outcome.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        self.steps.iter().all(Step::is_as_expected)
    }

    pub(crate) fn scene(&self, title: &str) {
        if self.is_printed {
            println!("\n{title}");
        }
    }

    pub(crate) fn add(&mut self, step: Step) {
        if self.is_printed {
            println!("{step}");
        }
        self.steps.push(step);
    }
}

/// The last line.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let right = self.steps.iter().filter(|step| step.is_as_expected()).count();
        write!(f, "{right} of {} outcomes as expected", self.steps.len())
    }
}

impl Step {
    /// Returns `true` if the outcome is the expected one.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        self.expected == self.actual
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, what, expected, actual, shows, summary } = self;
        let (expected, actual) = (expected.to_string(), actual.to_string());
        write!(f, "  {who:<12} {what:<46} expected {expected:<7} got {actual:<7}  {shows}")?;
        if !summary.is_empty() {
            write!(f, " ({summary})")?;
        }
        if self.is_as_expected() { Ok(()) } else { f.write_str("   <- NOT as expected") }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Granted => f.write_str("granted"),
            Self::NoResponse => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(expected: Outcome, actual: Outcome) -> Step {
        let what = "GET /patients".to_owned();
        Step { who: "clinical", what, expected, actual, shows: "its patient", summary: "1 entry".to_owned() }
    }

    #[test]
    fn counts_and_marks_unexpected_outcomes() {
        let mut trace = Trace::default();
        trace.add(step(Outcome::Status(StatusCode::OK), Outcome::Status(StatusCode::OK)));
        assert!(trace.is_as_expected());
        trace.add(step(Outcome::Granted, Outcome::Status(StatusCode::FORBIDDEN)));
        assert!(!trace.is_as_expected());
        assert_eq!(trace.to_string(), "1 of 2 outcomes as expected");
        let lines: Vec<String> = trace.steps().iter().map(ToString::to_string).collect();
        assert!(lines[0].ends_with("expected 200     got 200      its patient (1 entry)"), "{}", lines[0]);
        assert!(lines[1].ends_with("its patient (1 entry)   <- NOT as expected"), "{}", lines[1]);
    }
}
