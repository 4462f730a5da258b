//! Fake Kubernetes API server: `TokenReview`, list and watch of pods.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        mpsc::{Sender, channel},
    },
};

use serde_json::{Value, json};

use crate::http::{Body, HttpServer, Reply, Request, locked};

/// Response to each `TokenReview`.
#[derive(Clone, Debug, PartialEq)]
pub enum Review {
    /// This `status`.
    Status(Value),
    /// An error.
    Error(u16),
    /// This text with status 201.
    Text(String),
    /// No response.
    Nothing,
}

/// API server in threads of the test's process.
#[derive(Debug)]
pub struct ApiServer {
    server: HttpServer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    review: Review,
    /// Names by uid.
    pods: BTreeMap<String, String>,
    version: u64,
    watchers: Vec<Sender<Vec<u8>>>,
    /// Status of lists and watches, if they fail.
    failure: Option<u16>,
    /// Bearer token that requests must have.
    token: String,
}

impl ApiServer {
    /// Starts a server that accepts this bearer token, authenticates no reviewed token and has no pods.
    #[must_use]
    pub fn start(token: &str) -> Self {
        let state = State {
            review: Review::Status(json!({ "authenticated": false })),
            pods: BTreeMap::new(),
            version: 1,
            watchers: Vec::new(),
            failure: None,
            token: token.to_owned(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        Self { server: HttpServer::start(move |request| locked(&shared).reply(request)), state }
    }

    /// Returns the server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// Returns the number of lists and of watches so far.
    #[must_use]
    pub fn lists_and_watches(&self) -> (usize, usize) {
        let pods: Vec<Request> =
            self.requests().into_iter().filter(|request| request.path() == "/api/v1/pods").collect();
        let watches = pods.iter().filter(|request| request.target.contains("watch=true")).count();
        (pods.len() - watches, watches)
    }

    /// Changes the bearer token that requests must have.
    pub fn rotate_token(&self, token: &str) {
        token.clone_into(&mut locked(&self.state).token);
    }

    /// Returns the response to reviews.
    #[must_use]
    pub fn current_review(&self) -> Review {
        locked(&self.state).review.clone()
    }

    /// Sets the response to reviews.
    pub fn review(&self, review: Review) {
        locked(&self.state).review = review;
    }

    /// Makes lists and watches fail with this status, or work again.
    pub fn fail(&self, status: Option<u16>) {
        locked(&self.state).failure = status;
    }

    /// Adds a pod; watches receive the event.
    pub fn add_pod(&self, uid: &str) {
        let mut state = locked(&self.state);
        state.pods.insert(uid.to_owned(), format!("pod-{uid}"));
        state.send_event("ADDED", uid);
    }

    /// Deletes a pod; watches receive the event.
    pub fn delete_pod(&self, uid: &str) {
        let mut state = locked(&self.state);
        state.pods.remove(uid);
        state.send_event("DELETED", uid);
    }

    /// Deletes a pod without an event, as one that happened while no watch was open.
    pub fn delete_pod_unseen(&self, uid: &str) {
        let mut state = locked(&self.state);
        state.version += 1;
        state.pods.remove(uid);
    }

    /// Sends a bookmark to the watches.
    pub fn bookmark(&self) {
        let mut state = locked(&self.state);
        state.version += 1;
        let object = json!({ "kind": "Pod", "metadata": { "resourceVersion": state.version.to_string() } });
        state.send(&json!({ "type": "BOOKMARK", "object": object }).to_string());
    }

    /// Sends a line to the watches, which need not be an event.
    pub fn send(&self, line: &str) {
        locked(&self.state).send(line);
    }

    /// Tells the watches that their version is too old.
    pub fn expire(&self) {
        let status = json!({ "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410 });
        self.send(&json!({ "type": "ERROR", "object": status }).to_string());
    }

    /// Ends the watches: properly, or by cutting their connections.
    pub fn end_watches(&self, properly: bool) {
        let mut state = locked(&self.state);
        for watcher in state.watchers.drain(..) {
            if !properly {
                watcher.send(Vec::new()).ok();
            }
        }
    }
}

impl State {
    fn reply(&mut self, request: &Request) -> Reply {
        if request.header("authorization") != Some(&format!("Bearer {}", self.token)) {
            return Reply::status(401);
        }
        match (&*request.method, request.path()) {
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews") => match &self.review {
                Review::Status(status) => Reply::json(201, &json!({ "kind": "TokenReview", "status": status })),
                Review::Error(status) => Reply::status(*status),
                Review::Text(text) => {
                    Reply { status: 201, headers: Vec::new(), body: Body::Full(text.clone().into_bytes()) }
                }
                Review::Nothing => Reply { status: 201, headers: Vec::new(), body: Body::Stall },
            },
            ("GET", "/api/v1/pods") => match self.failure {
                Some(status) => Reply::status(status),
                None if request.target.contains("watch=true") => self.watch(),
                None => self.list(request),
            },
            _ => Reply::status(404),
        }
    }

    /// Lists pods two at a time, whatever limit the request has.
    fn list(&self, request: &Request) -> Reply {
        let from = request.target.split('&').find_map(|part| part.strip_prefix("continue="));
        let from: usize = from.and_then(|from| from.parse().ok()).unwrap_or(0);
        let items: Vec<Value> = self.pods.keys().skip(from).take(2).map(|uid| self.object(uid)).collect();
        let next = if from + 2 < self.pods.len() { (from + 2).to_string() } else { String::new() };
        let metadata = json!({ "resourceVersion": self.version.to_string(), "continue": next });
        Reply::json(200, &json!({ "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items }))
    }

    fn watch(&mut self) -> Reply {
        let (sender, receiver) = channel();
        self.watchers.push(sender);
        Reply { status: 200, headers: Vec::new(), body: Body::Stream(receiver) }
    }

    fn send_event(&mut self, kind: &str, uid: &str) {
        self.version += 1;
        let event = json!({ "type": kind, "object": self.object(uid) });
        self.send(&event.to_string());
    }

    fn send(&mut self, line: &str) {
        // In two parts, as a network may deliver it.
        let line = format!("{line}\n").into_bytes();
        let (first, second) = line.split_at(line.len() / 2);
        self.watchers
            .retain(|watcher| watcher.send(first.to_vec()).and_then(|()| watcher.send(second.to_vec())).is_ok());
    }

    fn object(&self, uid: &str) -> Value {
        let name = self.pods.get(uid).cloned().unwrap_or_else(|| format!("pod-{uid}"));
        let version = self.version.to_string();
        json!({
            "kind": "PartialObjectMetadata",
            "metadata": { "name": name, "namespace": "prod", "uid": uid, "resourceVersion": version },
        })
    }
}
