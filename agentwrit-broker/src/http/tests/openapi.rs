//! The document against the router, against JSON Schema, and against real answers.

use std::collections::{BTreeMap, BTreeSet};

use agentwrit_protocol::ErrorCode;
use serde_json::{Value, json};

use self::{
    document::{Document, Operation},
    walk::Walk,
};
use super::super::{Edge, routes};
use crate::audit::EventType;

mod document;
mod members;
mod tour;
pub(super) mod walk;

#[test]
fn document_has_version_of_crate() {
    let document = Document::load();
    assert_eq!(document.root["openapi"], "3.1.1");
    assert_eq!(document.root["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn document_has_paths_and_methods_of_router() {
    let walk = Walk::start().await;
    let mut routed = BTreeMap::new();
    for (path, _) in routes(&walk.services, &Edge::for_tests(&walk.services).proofs) {
        let answer = walk.send("BREW", &filled(path), None, None).await;
        assert_eq!(answer.status, 405, "{path}");
        let methods = answer.header("allow").unwrap().split(',').map(str::trim);
        let methods: BTreeSet<String> =
            methods.filter(|method| *method != "HEAD").map(str::to_ascii_lowercase).collect();
        routed.insert(path.to_owned(), methods);
    }
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in walk.document.operations() {
        let answer = walk.send(&operation.method.to_ascii_uppercase(), &filled(operation.path), None, None).await;
        assert!(!matches!(answer.status, 404 | 405), "{operation}: {}", answer.status);
        documented.entry(operation.path.to_owned()).or_default().insert(operation.method.to_owned());
    }
    assert_eq!(documented, routed);
}

#[test]
fn operations_have_distinct_ids() {
    let document = Document::load();
    let ids: Vec<_> = document.operations().map(|operation| operation.value["operationId"].clone()).collect();
    let distinct: BTreeSet<_> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn document_has_error_codes_and_event_types_of_types() {
    let document = Document::load();
    let codes: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts(&document.root["components"]["schemas"]["ErrorCode"]["enum"]), codes);
    let types: BTreeSet<&str> = EventType::ALL.iter().map(|event_type| event_type.as_str()).collect();
    assert_eq!(texts(&document.root["components"]["schemas"]["EventType"]["enum"]), types);

    let mut used = BTreeSet::new();
    for response in document.root["components"]["responses"].as_object().unwrap().values() {
        for code in Document::error_codes(response) {
            let known = ErrorCode::ALL.iter().find(|known| known.as_str() == code).unwrap();
            let status = &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["status"];
            assert_eq!(status["const"], known.status(), "{code}");
            used.insert(code);
        }
    }
    assert_eq!(used.iter().map(String::as_str).collect::<BTreeSet<_>>(), codes);
}

#[test]
fn schemas_are_valid_and_examples_match_them() {
    let document = Document::load();
    let schemas = document.schemas();
    assert!(schemas.len() > 100, "found only {}", schemas.len());
    for (place, schema) in schemas {
        jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|error| panic!("{place}: {error}"));
        for example in schema["examples"].as_array().into_iter().flatten() {
            document.check(schema, example).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
    for (place, schema, example) in document.examples() {
        document.check(schema, example).unwrap_or_else(|error| panic!("{place}: {error}"));
    }
}

#[tokio::test]
async fn serves_document() {
    let walk = Walk::start().await;
    let answer = walk.call("get", "/v1/openapi.json", None, None).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), Document::as_written());
}

/// Every operation, until each documented answer has been seen, and no other.
#[tokio::test]
async fn responses_match_document_and_cover_it() {
    let walk = Walk::start().await;
    tour::everything(&walk).await;
    let expected: BTreeSet<(String, u16, String)> =
        walk.document.operations().flat_map(|operation| expected(&walk.document, &operation)).collect();
    let seen = walk.seen.borrow().clone();
    let missing: Vec<_> = expected.difference(&seen).collect();
    assert!(missing.is_empty(), "documented but never answered: {missing:#?}");
}

/// The documented answers, but for defects and a store that fails.
fn expected(document: &Document, operation: &Operation<'_>) -> Vec<(String, u16, String)> {
    let responses = operation.value["responses"].as_object().unwrap();
    let mut expected = Vec::new();
    for (status, response) in responses.iter().filter(|(status, _)| !matches!(status.as_str(), "500" | "503")) {
        let status: u16 = status.parse().unwrap();
        let codes = Document::error_codes(document.resolve(response));
        let codes = if codes.is_empty() { vec![String::new()] } else { codes };
        expected.extend(codes.into_iter().map(|code| (operation.to_string(), status, code)));
    }
    expected
}

/// A path of the template, of things that don't exist.
fn filled(template: &str) -> String {
    template
        .replace("{cursor}", "0000000000000000.1")
        .replace("/apps/{id}", "/apps/app-missing-000000")
        .replace("/keys/{kid}", "/keys/no-such-key")
        .replace("/launch-tokens/{id}", "/launch-tokens/lt-0000000000000000")
        .replace("/trust-rules/{id}", "/trust-rules/rule-none-000000")
        .replace("/verifiers/{name}", "/verifiers/no-such-verifier")
        .replace("/instances/{instance}", "/instances/unknown")
}

fn texts(list: &Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn rejects_response_with_undocumented_member() {
    let document = Document::load();
    let schema = &document.root["components"]["schemas"]["Challenge"];
    let nonce = "0".repeat(64);
    assert_eq!(document.check(schema, &json!({"nonce": nonce, "expires_in": 30})), Ok(()));
    assert!(document.check(schema, &json!({"nonce": nonce, "expires_in": 30, "more": 1})).is_err());
    assert!(document.check(schema, &json!({"nonce": nonce})).is_err());
}
