//! The fields of an event and of the spans around it.

use std::{error::Error, fmt};

use serde_json::{Number, Value};
use tracing::field::{Field, Visit};

/// Recorded fields in their order; a repeated name replaces the value.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) component: Option<String>,
    pub(super) others: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Takes over the fields of a span.
    pub(super) fn extend(&mut self, span: &Self) {
        for (name, value) in &span.others {
            self.set(name, value.clone());
        }
        if span.component.is_some() {
            self.component.clone_from(&span.component);
        }
    }

    fn set(&mut self, name: &'static str, value: Value) {
        match self.others.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.others.push((name, value)),
        }
    }

    fn set_text(&mut self, name: &'static str, text: String) {
        match name {
            "message" => self.message = text,
            "component" => self.component = Some(text),
            _ => self.set(name, Value::String(text)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set_text(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field.name(), value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set_text(field.name(), value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        // Beyond 64 bits JSON's readers lose digits.
        let number = Number::from_i128(value).map_or_else(|| Value::String(value.to_string()), Value::Number);
        self.set(field.name(), number);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        let number = Number::from_u128(value).map_or_else(|| Value::String(value.to_string()), Value::Number);
        self.set(field.name(), number);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let number = Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number);
        self.set(field.name(), number);
    }
}
