//! Requests to the real router, each answer of which is held against the document.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use agentwrit_protocol::paths;
use axum::{Router, body::Body, extract::Request};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use super::{
    super::super::{Edge, router},
    document::{Document, Operation},
};
use crate::{
    Config,
    keys::{Entropy, OsEntropy, open_key_files},
    service::Services,
    store::{Store, StoreOptions},
};

pub(in crate::http::tests) const ADMIN_SECRET: &str = "correct-horse-battery-staple";

pub(in crate::http::tests) struct Walk {
    pub(in crate::http::tests) services: Arc<Services>,
    pub(super) document: Document,
    /// Operation, status and error code of each answer.
    pub(super) seen: RefCell<BTreeSet<(String, u16, String)>>,
    router: Router,
    _directory: TempDir,
}

pub(in crate::http::tests) struct Answer {
    pub(in crate::http::tests) status: u16,
    pub(in crate::http::tests) body: Vec<u8>,
    headers: HeaderMap,
}

impl Answer {
    pub(in crate::http::tests) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(in crate::http::tests) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&self.body)))
    }

    pub(in crate::http::tests) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {:#}", self.json())).to_owned()
    }
}

impl Walk {
    pub(in crate::http::tests) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::for_development(directory.path(), ADMIN_SECRET).unwrap();
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy::open().unwrap());
        let store = Store::open(&config.db_path, StoreOptions::default()).unwrap();
        let keys = open_key_files(&store, &config.signing_key_path, &entropy).await.unwrap();
        let services = Services::build(&config, store, keys, entropy).await.unwrap();
        let services = Arc::new(services);
        let router = router(Arc::clone(&services), Edge::for_tests(&services));
        Self { services, document: Document::load(), seen: RefCell::default(), router, _directory: directory }
    }

    pub(in crate::http::tests) async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answer(request.body(body.map_or_else(Body::empty, Body::from)).unwrap()).await
    }

    pub(in crate::http::tests) async fn answer(&self, mut request: Request) -> Answer {
        request.headers_mut().insert("host", HeaderValue::from_static("broker.test"));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
        Answer { status, body, headers }
    }

    /// Sends a request to a path of the template and checks the answer.
    pub(super) async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        self.call_raw(method, path, token, body.map(|body| body.to_string().into_bytes())).await
    }

    pub(super) async fn call_raw(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Answer {
        let operation = self.document.operation(method, &template(path));
        let answer = self.send(&method.to_ascii_uppercase(), path, token, body.clone()).await;
        self.check(&operation, path, body.as_deref(), &answer);
        answer
    }

    /// Checks an answer against the operation, and the request too if it was granted.
    pub(super) fn check(&self, operation: &Operation<'_>, path: &str, body: Option<&[u8]>, answer: &Answer) {
        let shown = format!("{operation} ({path}) → {} {:#}", answer.status, answer.json());
        let response = &operation.value["responses"][answer.status.to_string()];
        assert!(response.is_object(), "not documented: {shown}");
        let response = self.document.resolve(response);
        self.check_headers(response, answer, &shown);
        let code = self.check_body(response, answer, &shown);
        if answer.status < 300 {
            self.check_request(operation, path, body, &shown);
        }
        self.seen.borrow_mut().insert((operation.to_string(), answer.status, code));
    }

    fn check_headers(&self, response: &Value, answer: &Answer, shown: &str) {
        for (name, header) in response["headers"].as_object().unwrap() {
            let header = self.document.resolve(header);
            let Some(found) = answer.header(name) else {
                assert_ne!(header["required"], true, "no `{name}`: {shown}");
                continue;
            };
            let value = if header["schema"]["type"] == "integer" { found.parse().unwrap() } else { json!(found) };
            self.document.check(&header["schema"], &value).unwrap_or_else(|error| panic!("{name}: {error}: {shown}"));
        }
        for name in answer.headers.keys().filter(|name| !matches!(name.as_str(), "content-type" | "content-length")) {
            let documented = response["headers"].as_object().unwrap();
            assert!(documented.keys().any(|known| known.eq_ignore_ascii_case(name.as_str())), "`{name}`: {shown}");
        }
    }

    fn check_body(&self, response: &Value, answer: &Answer, shown: &str) -> String {
        let Some(content) = response["content"].as_object() else {
            assert!(answer.body.is_empty(), "a body: {shown}");
            assert_eq!(answer.header("content-type"), None, "{shown}");
            return String::new();
        };
        let content_type = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        let media_type = content.get(content_type).unwrap_or_else(|| panic!("`{content_type}`: {shown}"));
        let body = answer.json();
        self.document.check(&media_type["schema"], &body).unwrap_or_else(|error| panic!("{error}: {shown}"));
        self.check_tokens(&body);
        if content_type == "application/jwt" {
            self.check_jws("RevocationFeed", body.as_str().unwrap());
        }
        body["error_code"].as_str().unwrap_or_default().to_owned()
    }

    fn check_request(&self, operation: &Operation<'_>, path: &str, body: Option<&[u8]>, shown: &str) {
        let schema = &operation.value["requestBody"]["content"]["application/json"]["schema"];
        let is_required = operation.value["requestBody"]["required"] == true;
        if !schema.is_null() && (is_required || body.is_some()) {
            let body = serde_json::from_slice(body.unwrap()).unwrap();
            self.document.check(schema, &body).unwrap_or_else(|error| panic!("request: {error}: {shown}"));
        }
        let query = path.split_once('?').map_or("", |(_, query)| query);
        for name in query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name) {
            let mut parameters = operation.value["parameters"].as_array().unwrap().iter();
            assert!(parameters.any(|parameter| self.document.resolve(parameter)["name"] == name), "`{name}`: {shown}");
        }
    }

    /// Header and claims of every token in the answer.
    fn check_tokens(&self, body: &Value) {
        if let Some(token) = body.get("access_token") {
            self.check_jws("Jwt", token.as_str().unwrap());
        }
    }

    fn check_jws(&self, schema: &str, text: &str) {
        let part = |part: &str| serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap();
        let parts: Vec<Value> = text.split('.').take(2).map(part).collect();
        let schema = &self.document.root["components"]["schemas"][schema]["contentSchema"];
        self.document.check(schema, &json!(parts)).unwrap();
    }
}

/// The template that a path is of.
fn template(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    for prefix in ["/v1/admin/apps/", "/v1/admin/launch-tokens/", "/v1/admin/trust-rules/"] {
        if let Some(rest) = path.strip_prefix(prefix) {
            let action = rest.split_once('/').map(|(_, action)| format!("/{action}")).unwrap_or_default();
            return format!("{prefix}{{id}}{action}");
        }
    }
    if let Some((_, change)) = path.strip_prefix("/v1/admin/keys/").and_then(|rest| rest.split_once('/')) {
        return format!("/v1/admin/keys/{{kid}}/{change}");
    }
    if path.starts_with("/v1/admin/verifiers/") {
        let is_instance = path.contains("/instances/");
        return if is_instance { paths::ADMIN_VERIFIER_INSTANCE } else { paths::ADMIN_VERIFIER }.to_owned();
    }
    if path.ends_with("/confirmation") {
        return paths::REVOCATION_CONFIRMATION.to_owned();
    }
    if path.ends_with("/confirmation/evidence") {
        return paths::CONFIRMATION_EVIDENCE.to_owned();
    }
    path.to_owned()
}
