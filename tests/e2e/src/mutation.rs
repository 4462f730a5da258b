//! Every way to get one field of a body wrong.

use serde_json::{Value, json};

/// Kind of value that a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Text that must be there.
    Text(&'static str),
    /// A SPIFFE path segment that must be there.
    Segment(&'static str),
    /// A SPIFFE path segment that may be there.
    OptionalSegment(&'static str),
    /// A list of scopes that must be there.
    Scopes(&'static str),
    /// A list of scopes that may be there.
    OptionalScopes(&'static str),
    /// A number that may be there.
    OptionalNumber(&'static str),
    /// A truth value that may be there.
    OptionalFlag(&'static str),
}

/// A body with one field wrong.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The field.
    pub field: &'static str,
    /// Description of the mutation, for messages.
    pub why: String,
    /// The body.
    pub body: Value,
}

impl Field {
    /// Bodies that differ from `valid` in this field only, each of them wrong.
    #[must_use]
    pub fn broken(self, valid: &Value) -> Vec<Mutation> {
        let field = self.name();
        let mut broken = Vec::new();
        if self.is_required() {
            let mut body = valid.clone();
            body.as_object_mut().expect("an object").remove(field);
            broken.push(Mutation { field, why: format!("{field} missing"), body });
            broken.push(Mutation::with(valid, field, Value::Null));
        }
        broken.extend(self.wrong_values().into_iter().map(|value| Mutation::with(valid, field, value)));
        broken
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text(name)
            | Self::Segment(name)
            | Self::OptionalSegment(name)
            | Self::Scopes(name)
            | Self::OptionalScopes(name)
            | Self::OptionalNumber(name)
            | Self::OptionalFlag(name) => name,
        }
    }

    fn is_required(self) -> bool {
        matches!(self, Self::Text(_) | Self::Segment(_) | Self::Scopes(_))
    }

    fn wrong_values(self) -> Vec<Value> {
        match self {
            Self::Text(_) => vec![json!(""), json!(7), json!(true), json!(["a"]), json!({}), json!("a".repeat(5000))],
            Self::Segment(_) | Self::OptionalSegment(_) => vec![
                json!(""),
                json!(7),
                json!(["a"]),
                json!({}),
                json!("a".repeat(129)),
                json!("."),
                json!(".."),
                json!("a/b"),
                json!("a b"),
                json!("é"),
                json!("a\n"),
                json!("%2e"),
            ],
            Self::Scopes(_) | Self::OptionalScopes(_) => wrong_scopes(),
            Self::OptionalNumber(_) => vec![json!("300"), json!(1.5), json!(true), json!([300]), json!({})],
            Self::OptionalFlag(_) => vec![json!("true"), json!(1), json!([true]), json!({})],
        }
    }
}

/// Contract §2: what is refused wherever scopes are granted.
fn wrong_scopes() -> Vec<Value> {
    let texts = [
        "",
        "read",
        "read:data",
        "read::data:x",
        ":data:x",
        "read::x",
        "read:data:",
        "*:*:*",
        "read:*:x",
        "*:data:x",
        "read:data:x*",
        "read:data:**",
        "read:data:x:*",
        "read:data:*:x",
        "read:da ta:x",
        "read:data:\"",
        "read:data:\\",
        "read:data:é",
        "read:data:\u{7f}",
        "admin:launch-tokens:*",
        "admin:x:y",
        "app:launch-tokens:*",
        "app:x:y",
    ];
    let longest = 256 - "read:data:".len();
    let mut wrong: Vec<Value> = texts.iter().map(|text| json!([text])).collect();
    wrong.extend([
        json!([]),
        json!("read:data:x"),
        json!({}),
        json!(7),
        json!([7]),
        json!([null]),
        json!([["read:data:x"]]),
        json!(["read:data:x", "read:data"]),
        json!([format!("read:data:{}", "x".repeat(longest + 1))]),
        json!((0..65).map(|i| format!("read:data:{i}")).collect::<Vec<_>>()),
    ]);
    wrong
}

impl Mutation {
    fn with(valid: &Value, field: &'static str, value: Value) -> Self {
        let shown: String = value.to_string().chars().take(80).collect();
        let mut body = valid.clone();
        body[field] = value;
        Self { field, why: format!("{field} = {shown}"), body }
    }
}
