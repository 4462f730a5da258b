//! Fields of forms and addresses.

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use subtle::ConstantTimeEq;

use super::{Console, error::ConsoleError, page::Operator};
use crate::http::FormBody;

/// Name of the field that holds the token of the session's forms.
const FORM_TOKEN: &str = "form_token";

/// Fields of a query or a form. An empty field counts as absent: browsers send every field of a form.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn of_query(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Returns the text of a field, without the space around it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.trim()).filter(|text| !text.is_empty())
    }

    /// Returns the text of a field, or an empty one.
    pub(super) fn shown(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// Returns a field that `parse` accepts, if it is there.
    pub(super) fn parsed<T, E: ToString>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConsoleError> {
        let problem = |error: E| ConsoleError::Field { name, problem: error.to_string() };
        self.text(name).map(parse).transpose().map_err(problem)
    }

    /// Returns a field that `parse` accepts.
    pub(super) fn required<T, E: ToString>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConsoleError> {
        let missing = || ConsoleError::Field { name, problem: "is required".to_owned() };
        self.parsed(name, parse)?.ok_or_else(missing)
    }

    /// Returns a number, if it is there.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, ConsoleError> {
        self.parsed(name, |text| text.parse().map_err(|_| "must be a whole number"))
    }

    /// Rejects a form of which the operator has not typed what it changes into `confirm`.
    pub(super) fn confirmed(&self, target: &str) -> Result<(), ConsoleError> {
        if self.text("confirm") == Some(target) {
            return Ok(());
        }
        Err(ConsoleError::Field { name: "confirm", problem: format!("must be `{target}`; nothing was done") })
    }

    /// Returns the query of these fields with another value of `name`.
    pub(super) fn query_with(&self, name: &str, value: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (other, value) in self.0.iter().filter(|(other, value)| other != name && !value.is_empty()) {
            query.append_pair(other, value);
        }
        query.append_pair(name, value).finish()
    }
}

/// Fields of the address.
impl<S: Sync> FromRequestParts<S> for Fields {
    type Rejection = ConsoleError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ConsoleError> {
        Ok(Self::of_query(parts.uri.query().unwrap_or_default()))
    }
}

/// A form of a page of the operator's session.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) operator: Operator,
    pub(super) form: Fields,
}

impl FromRequest<Console> for Action {
    type Rejection = ConsoleError;

    async fn from_request(request: Request, console: &Console) -> Result<Self, ConsoleError> {
        let (mut parts, body) = request.into_parts();
        let operator = Operator::from_request_parts(&mut parts, console).await?;
        let form = form(Request::from_parts(parts, body)).await?;
        let expected = operator.form_token.as_bytes();
        let given = form.text(FORM_TOKEN).unwrap_or_default().as_bytes();
        if !bool::from(expected.ct_eq(given)) {
            return Err(ConsoleError::StaleForm);
        }
        Ok(Self { operator, form })
    }
}

/// Returns a query of one parameter.
pub(super) fn query(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

/// Reads a form.
pub(super) async fn form(request: Request) -> Result<Fields, ConsoleError> {
    let FormBody(fields) = FormBody::from_request(request, &()).await.map_err(ConsoleError::Form)?;
    Ok(Fields(fields))
}
