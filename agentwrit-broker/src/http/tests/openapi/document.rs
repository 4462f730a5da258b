//! Reading the document.

use std::fmt;

use serde_json::{Map, Value, json};

/// The document, with its objects closed: clients must ignore members that they don't know, but the broker must not
/// answer with members that the document doesn't.
pub(super) struct Document {
    pub(super) root: Value,
}

/// A method of a path.
pub(super) struct Operation<'d> {
    pub(super) method: &'d str,
    pub(super) path: &'d str,
    pub(super) value: &'d Value,
}

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

impl Document {
    pub(super) fn as_written() -> Value {
        serde_json::from_str(super::super::super::operation::OPENAPI).unwrap()
    }

    pub(super) fn load() -> Self {
        let mut root = Self::as_written();
        close(&mut root);
        Self { root }
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        self.root["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter().filter(|(method, _)| METHODS.contains(&method.as_str()));
            methods.map(move |(method, value)| Operation { method, path, value })
        })
    }

    pub(super) fn operation(&self, method: &str, path: &str) -> Operation<'_> {
        self.operations()
            .find(|operation| (operation.method, operation.path) == (method, path))
            .unwrap_or_else(|| panic!("{method} {path} is not documented"))
    }

    /// Returns the target of a `$ref`.
    pub(super) fn resolve<'d>(&'d self, value: &'d Value) -> &'d Value {
        match value.get("$ref").and_then(Value::as_str) {
            None => value,
            Some(target) => {
                let pointer = target.strip_prefix('#').unwrap();
                self.root.pointer(pointer).unwrap_or_else(|| panic!("{target} leads nowhere"))
            }
        }
    }

    /// The error codes that a response allows.
    pub(super) fn error_codes(response: &Value) -> Vec<String> {
        let codes = response.pointer("/content/application~1problem+json/schema/allOf/1/properties/error_code/enum");
        codes.and_then(Value::as_array).into_iter().flatten().map(|code| code.as_str().unwrap().to_owned()).collect()
    }

    /// Checks that the instance matches the schema.
    pub(super) fn check(&self, schema: &Value, instance: &Value) -> Result<(), String> {
        let schema = json!({ "allOf": [schema], "components": self.root["components"] });
        let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if errors.is_empty() { Ok(()) } else { Err(format!("{}\n{instance:#}", errors.join("\n"))) }
    }

    /// Every schema, with its place.
    pub(super) fn schemas(&self) -> Vec<(String, &Value)> {
        let named = self.root["components"]["schemas"].as_object().unwrap();
        let mut found: Vec<_> = named.iter().map(|(name, schema)| (format!("schemas/{name}"), schema)).collect();
        visit(&self.root, "#", &mut |place, object| {
            if let Some(schema) = object.get("schema") {
                found.push((place.to_owned(), schema));
            }
        });
        found
    }

    /// Every example beside a schema.
    pub(super) fn examples(&self) -> Vec<(String, &Value, &Value)> {
        let mut found = Vec::new();
        visit(&self.root, "#", &mut |place, object| {
            if let (Some(schema), Some(example)) = (object.get("schema"), object.get("example")) {
                found.push((place.to_owned(), schema, example));
            }
        });
        found
    }
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn visit<'v>(value: &'v Value, place: &str, see: &mut impl FnMut(&str, &'v Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            see(place, members);
            for (name, member) in members {
                visit(member, &format!("{place}/{name}"), see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, place, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn close(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            let open = members.contains_key("additionalProperties");
            if members.get("type") == Some(&json!("object")) && members.contains_key("properties") && !open {
                members.insert("unevaluatedProperties".into(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
