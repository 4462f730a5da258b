//! Number of a patient.

use std::fmt;

/// Patient number: `P-` and 1 to 8 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientId(Box<str>);

impl PatientId {
    /// Parses a number; `None` if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("P-")?;
        let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Self(text.into()))
    }

    /// Returns the number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PatientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_patient_numbers_only() {
        for text in ["P-1", "P-1042", "P-99999999"] {
            assert_eq!(PatientId::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "P-", "P-*", "*", "..", "p-1042", "P-1042 ", "P-10x2", "P-123456789", "P-١", "P-1' OR 1=1"] {
            assert_eq!(PatientId::parse(text), None, "{text}");
        }
    }
}
