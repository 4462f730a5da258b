//! What happened, what should have happened, and what that shows: a line per step.

use std::fmt;

use http::StatusCode;

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "who prints a trace must show each")]
pub enum Outcome {
    /// The hospital, or the broker when it refuses, answered with this status.
    Status(StatusCode),
    /// The broker did what it was asked.
    Granted,
    /// There was no answer.
    NoAnswer,
}

/// A step of the encounter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Who acted.
    pub who: &'static str,
    /// What was asked, of the hospital or of the broker.
    pub what: String,
    /// What it must come to.
    pub expected: Outcome,
    /// What it came to.
    pub actual: Outcome,
    /// What that shows.
    pub shows: &'static str,
    /// What was answered, in a few words.
    pub said: String,
}

/// The steps so far.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Vec<Step>,
    is_printed: bool,
}

impl Trace {
    /// A trace that prints each line as it happens.
    #[must_use]
    pub fn printed() -> Self {
        Self { steps: Vec::new(), is_printed: true }
    }

    /// The steps so far.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether every step came to what it must.
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
    /// Whether it came to what it must.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        self.expected == self.actual
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, what, expected, actual, shows, said } = self;
        let (expected, actual) = (expected.to_string(), actual.to_string());
        write!(f, "  {who:<12} {what:<46} expected {expected:<7} got {actual:<7}  {shows}")?;
        if !said.is_empty() {
            write!(f, " ({said})")?;
        }
        if self.is_as_expected() { Ok(()) } else { f.write_str("   <- NOT as expected") }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => f.write_str(status.as_str()),
            Self::Granted => f.write_str("granted"),
            Self::NoAnswer => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(expected: Outcome, actual: Outcome) -> Step {
        let what = "GET /patients".to_owned();
        Step { who: "clinical", what, expected, actual, shows: "its patient", said: "1 entry".to_owned() }
    }

    #[test]
    fn a_step_out_of_line_is_counted_and_marked() {
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
