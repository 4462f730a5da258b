//! Task and orchestrator ids that are made of the claims of a foreign token.
//!
//! 1. `{claim}` stands for a claim, which must be a text that is not empty, a whole number, or `true` or `false`.
//! 2. Characters that no id may have become `-`, each of them one, so that two values may become the same id.
//! 3. What is longer than an id may be is rejected, not cut: the beginnings of two values may be equal.

use std::fmt;

use agentwrit_protocol::limits::MAX_TEMPLATE;
use agentwrit_verify::{IdentityError, PathSegment};
use serde_json::{Map, Value};

use super::ClaimName;

/// Text of an id, with `{claim}` in place of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Claim(ClaimName),
}

/// A text that is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a template is `A-Z a-z 0-9 . _ -` and names of claims in braces, such as `job-{{run_id}}`")]
pub struct IdTemplateError;

/// Reason why the claims of a token make no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableClaim {
    /// A claim that the template names is missing, empty, or of another type.
    #[error("claim `{0}` of the template is missing, empty, or neither text, whole number nor flag")]
    Claim(ClaimName),
    /// The result is too long, or not a name.
    #[error("the claims of the template make no id: {0}")]
    Id(IdentityError),
}

impl IdTemplate {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// [`IdTemplateError`].
    pub fn parse(text: &str) -> Result<Self, IdTemplateError> {
        if !matches!(text.len(), 1..=MAX_TEMPLATE) {
            return Err(IdTemplateError);
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (literal, after) = rest.split_once('{').map_or((rest, None), |(literal, after)| (literal, Some(after)));
            if !literal.chars().all(is_id_character) {
                return Err(IdTemplateError);
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some(after) = after else { break };
            let (claim, after) = after.split_once('}').ok_or(IdTemplateError)?;
            parts.push(Part::Claim(ClaimName::parse(claim).map_err(|_| IdTemplateError)?));
            rest = after;
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether any claims can make an id.
    pub(super) fn can_make_id(&self) -> bool {
        let literals = self.parts.iter().map(|part| match part {
            Part::Literal(text) => text.as_str(),
            // The shortest text of a claim.
            Part::Claim(_) => "x",
        });
        PathSegment::parse(&literals.collect::<String>()).is_ok()
    }

    /// Returns the id that these claims make.
    ///
    /// # Errors
    ///
    /// [`UnusableClaim`].
    pub fn id_of(&self, claims: &Map<String, Value>) -> Result<PathSegment, UnusableClaim> {
        let mut id = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => id.push_str(text),
                Part::Claim(name) => {
                    let text = text_of(name.of(claims)).ok_or_else(|| UnusableClaim::Claim(name.clone()))?;
                    id.extend(text.chars().map(|character| if is_id_character(character) { character } else { '-' }));
                }
            }
        }
        PathSegment::parse(&id).map_err(UnusableClaim::Id)
    }
}

fn is_id_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

fn text_of(claim: Option<&Value>) -> Option<String> {
    match claim? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::String(_) | Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl fmt::Display for IdTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn id(template: &str, claims: &Value) -> Result<String, UnusableClaim> {
        let template = IdTemplate::parse(template).unwrap();
        template.id_of(claims.as_object().unwrap()).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn claims_fill_template_and_other_characters_become_hyphens() {
        let claims = json!({
            "repository": "acme/app", "run_id": 7, "kubernetes.io": { "pod": { "name": "größe x" } }, "protected": true,
        });
        for (template, expected) in [
            ("fixed", "fixed"),
            ("{repository}", "acme-app"),
            ("ci-{repository}.{run_id}_{protected}", "ci-acme-app.7_true"),
            ("{/kubernetes.io/pod/name}", "gr--e-x"),
        ] {
            assert_eq!(id(template, &claims).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn rejects_missing_empty_long_and_structured_claims() {
        let claims = json!({
            "empty": "", "list": ["a"], "object": {}, "null": null, "fraction": 1.5, "long": "a".repeat(129), "dots": "..",
        });
        for claim in ["missing", "empty", "list", "object", "null", "fraction"] {
            let name = ClaimName::parse(claim).unwrap();
            assert_eq!(id(&format!("x-{{{claim}}}"), &claims), Err(UnusableClaim::Claim(name)));
        }
        for claim in ["long", "dots"] {
            let rejected = id(&format!("{{{claim}}}"), &claims);
            assert_eq!(rejected, Err(UnusableClaim::Id(IdentityError::PathSegment)), "{claim}");
        }
    }

    #[test]
    fn rejects_texts_that_are_no_template() {
        for text in ["", "a b", "a/b", "{", "}", "a}", "{}", "{a", "{a{b}}", "é", "{a b}", &"a".repeat(513)] {
            assert_eq!(IdTemplate::parse(text), Err(IdTemplateError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn id_of_any_claim_is_a_path_segment_or_rejected(text in any::<String>(), prefix in "[a-z]{0,4}") {
            let made = id(&format!("{prefix}{{claim}}"), &json!({ "claim": text }));
            if let Ok(made) = made {
                prop_assert_eq!(made.len(), prefix.len() + text.chars().count());
                prop_assert!(PathSegment::parse(&made).is_ok());
            } else {
                let too_long = prefix.len() + text.chars().count() > PathSegment::MAX_LENGTH;
                let is_dots = matches!((&*prefix, &*text), ("", "." | ".."));
                prop_assert!(text.is_empty() || too_long || is_dots);
            }
        }
    }
}
