//! The metrics of `GET /v1/metrics`.
//!
//! 1. Labels are bounded: they come from the program, or, where a request influences them (scopes, endpoints), only the first
//!    distinct values are kept and the rest counts as one. Unauthenticated clients cannot grow them.
//! 2. No label names an agent, an app or a token.
//! 3. The output is Prometheus' text format 0.0.4, which every scraper reads and `curl` shows as it is.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agentwrit_verify::ScopeSet;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use self::{
    attestations::AttestationMetrics,
    health::WarningGauges,
    keys::KeyGauges,
    labels::{BoundedLabel, Label},
};
pub(crate) use self::{
    keys::KeyFigures,
    verifiers::{VerifierFigures, VerifierMetrics},
};
use super::log;

mod attestations;
mod health;
mod keys;
mod labels;
mod text;
mod verifiers;

/// Every metric of the broker.
pub struct Metrics {
    registry: Registry,
    tokens_issued: Family<Label, Counter>,
    scopes: BoundedLabel,
    tokens_revoked: Family<Label, Counter>,
    registrations: Family<Label, Counter>,
    admin_auth: Family<Label, Counter>,
    launch_tokens_created: Counter,
    active_agents: Gauge<u64, AtomicU64>,
    request_duration: Family<Label, Histogram, fn() -> Histogram>,
    endpoints: BoundedLabel,
    /// Number of requests, for the console.
    requests: Counter,
    clock_skew: Counter,
    clock_behind: Gauge<u64, AtomicU64>,
    deletion_held: Gauge<u64, AtomicU64>,
    clock_offset: Gauge<f64, AtomicU64>,
    audit_events: Family<Label, Counter>,
    audit_write_duration: Histogram,
    db_errors: Family<Label, Counter>,
    audit_events_loaded: Gauge<u64, AtomicU64>,
    audit_breaks_accepted: Gauge<u64, AtomicU64>,
    rate_limited: Family<Label, Counter>,
    log_lines_dropped: Family<Label, Counter>,
    proofs_rejected: Family<Label, Counter>,
    tls_handshakes_failed: Family<Label, Counter>,
    tls_renewal_failing: Gauge<u64, AtomicU64>,
    warnings: WarningGauges,
    keys: KeyGauges,
    verifiers: VerifierMetrics,
    attestations: AttestationMetrics,
}

/// Outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It succeeded.
    Success,
    /// It was rejected, or failed.
    Failure,
}

impl Metrics {
    /// The `Content-Type` of [`Metrics::encode`].
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Number of `action:resource` pairs with labels of their own; the others count as `other:other`.
    pub const MAX_SCOPE_LABELS: usize = 200;

    /// Number of endpoints with labels of their own; the others count as `other`.
    pub const MAX_ENDPOINT_LABELS: usize = 96;

    /// Metrics that are all zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("agentwrit"),
            tokens_issued: Family::default(),
            scopes: BoundedLabel::new("scope", Self::MAX_SCOPE_LABELS, "other:other"),
            tokens_revoked: Family::default(),
            registrations: Family::default(),
            admin_auth: Family::default(),
            launch_tokens_created: Counter::default(),
            active_agents: Gauge::default(),
            request_duration: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            endpoints: BoundedLabel::new("endpoint", Self::MAX_ENDPOINT_LABELS, "other"),
            requests: Counter::default(),
            clock_skew: Counter::default(),
            clock_behind: Gauge::default(),
            deletion_held: Gauge::default(),
            clock_offset: Gauge::default(),
            audit_events: Family::default(),
            audit_write_duration: Histogram::new(WRITE_SECONDS),
            db_errors: Family::default(),
            audit_events_loaded: Gauge::default(),
            audit_breaks_accepted: Gauge::default(),
            rate_limited: Family::default(),
            log_lines_dropped: Family::default(),
            proofs_rejected: Family::default(),
            tls_handshakes_failed: Family::default(),
            tls_renewal_failing: Gauge::default(),
            warnings: WarningGauges::default(),
            keys: KeyGauges::default(),
            verifiers: VerifierMetrics::default(),
            attestations: AttestationMetrics::default(),
        };
        metrics.registered().with_known_labels()
    }

    /// Counts an issued token once for each distinct `action:resource` of its scopes.
    pub fn token_issued(&self, scopes: &ScopeSet) {
        let mut kinds: Vec<String> =
            scopes.iter().map(|scope| format!("{}:{}", scope.action(), scope.resource())).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            self.tokens_issued.get_or_create(&self.scopes.label(&kind)).inc();
        }
    }

    /// Counts the live tokens that a revocation ended, at `level` (`token`, `agent`, `task`, `chain`).
    pub fn tokens_revoked(&self, level: &'static str, count: u64) {
        self.tokens_revoked.get_or_create(&Label::fixed("level", level)).inc_by(count);
    }

    /// Counts a registration.
    pub fn registration(&self, status: Status) {
        self.registrations.get_or_create(&status.label()).inc();
    }

    /// Counts an admin login.
    pub fn admin_auth(&self, status: Status) {
        self.admin_auth.get_or_create(&status.label()).inc();
    }

    /// Counts a created launch token.
    pub fn launch_token_created(&self) {
        self.launch_tokens_created.inc();
    }

    /// Number of requests since the start.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Sets the number of agents that hold a valid token.
    pub fn set_active_agents(&self, agents: u64) {
        self.active_agents.set(agents);
    }

    /// Observes the duration of a request. `endpoint` is the route as written in the route table, never the path of the request.
    pub fn request(&self, endpoint: &str, took: Duration) {
        self.requests.inc();
        self.request_duration.get_or_create(&self.endpoints.label(endpoint)).observe(took.as_secs_f64());
    }

    /// Counts a time in the future: a clock was set back, or brokers disagree about the time.
    pub fn clock_skew(&self) {
        self.clock_skew.inc();
    }

    /// Sets by how much the clock is behind the newest record, and ahead of the time that has passed for certain, up to
    /// which expired records are deleted; and the seconds by which this machine's clock is ahead of the database's.
    pub fn set_clock(&self, behind: Duration, held: Duration, offset: f64) {
        self.clock_offset.set(offset);
        self.clock_behind.set(behind.as_secs());
        self.deletion_held.set(held.as_secs());
    }

    /// Counts a durable audit event.
    pub fn audit_event(&self, event_type: &'static str) {
        self.audit_events.get_or_create(&Label::fixed("event_type", event_type)).inc();
    }

    /// Observes the duration of a transaction with audit events.
    pub fn audit_write(&self, took: Duration) {
        self.audit_write_duration.observe(took.as_secs_f64());
    }

    /// Counts a failure of the store in `operation`.
    pub fn db_error(&self, operation: &'static str) {
        self.db_errors.get_or_create(&Label::fixed("operation", operation)).inc();
    }

    /// Sets the number of audit events in the store at the start.
    pub fn set_audit_events_loaded(&self, events: u64) {
        self.audit_events_loaded.set(events);
    }

    /// Counts a 429 response, by the limit that the request exceeded.
    pub fn rate_limited(&self, limit: &'static str) {
        self.rate_limited.get_or_create(&Label::fixed("limit", limit)).inc();
    }

    /// Counts a request whose sender did not prove the key of its token, or of its registration, by the kind of reason.
    pub(crate) fn proof_rejected(&self, reason: &'static str) {
        self.proofs_rejected.get_or_create(&Label::fixed("reason", reason)).inc();
    }

    /// Counts a failed TLS handshake, by the kind of reason.
    pub(crate) fn tls_handshake_failed(&self, reason: &'static str) {
        self.tls_handshakes_failed.get_or_create(&Label::fixed("reason", reason)).inc();
    }

    /// Sets whether the certificates in the files cannot be used, so that older ones are shown.
    pub(crate) fn set_tls_renewal_failing(&self, failing: bool) {
        self.tls_renewal_failing.set(u64::from(failing));
    }

    /// Sets the warnings of the health document.
    pub(crate) fn set_health_warnings(&self, warnings: Vec<&'static str>) {
        self.warnings.set(warnings);
    }

    /// Sets the state of the signing keys.
    pub(crate) fn set_signing_keys(&self, figures: &KeyFigures) {
        self.keys.set(figures);
    }

    /// Returns the metrics of verifiers.
    pub(crate) fn verifiers(&self) -> &VerifierMetrics {
        &self.verifiers
    }

    /// Returns the metrics of attestations by other issuers.
    pub(crate) fn attestations(&self) -> &AttestationMetrics {
        &self.attestations
    }

    /// Sets the number of breaks of the audit trail that the operator has accepted.
    pub fn set_audit_breaks_accepted(&self, breaks: u64) {
        self.audit_breaks_accepted.set(breaks);
    }

    /// All metrics as text of type [`Metrics::CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        for (stream, lines) in log::dropped_lines() {
            let counter = self.log_lines_dropped.get_or_create(&Label::fixed("stream", stream));
            counter.inner().store(lines, Ordering::Relaxed);
        }
        let mut openmetrics = String::new();
        // Writing to a string does not fail.
        encode(&mut openmetrics, &self.registry).ok();
        text::from_openmetrics(&openmetrics)
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        // The library appends `_total` to counters.
        registry.register("tokens_issued", "Tokens issued, by action and resource", self.tokens_issued.clone());
        registry.register("tokens_revoked", "Live tokens revoked, by level", self.tokens_revoked.clone());
        registry.register("registrations", "Agent registrations, by outcome", self.registrations.clone());
        registry.register("admin_auth", "Admin logins, by outcome", self.admin_auth.clone());
        registry.register("launch_tokens_created", "Launch tokens created", self.launch_tokens_created.clone());
        registry.register(
            "active_agents",
            "Agents that hold a live token, are not barred, and whose app is active",
            self.active_agents.clone(),
        );
        let help = "Time from the request to its answer, by route";
        registry.register("request_duration_seconds", help, self.request_duration.clone());
        registry.register("clock_skew", "Requests dated in the future", self.clock_skew.clone());
        registry.register(
            "clock_behind_seconds",
            "Time by which the clock is behind the newest record",
            self.clock_behind.clone(),
        );
        let help = "Time that the clock shows and that has not passed for certain, while deletions are held";
        registry.register("deletion_held_seconds", help, self.deletion_held.clone());
        let help = "Time by which the machine's clock is ahead of the database's";
        registry.register("clock_offset_seconds", help, self.clock_offset.clone());
        registry.register("audit_events", "Audit events written, by type", self.audit_events.clone());
        let help = "Time to make audit events durable";
        registry.register("audit_write_duration_seconds", help, self.audit_write_duration.clone());
        registry.register("db_errors", "Failures of the store, by operation", self.db_errors.clone());
        registry.register("audit_events_loaded", "Audit events at the start", self.audit_events_loaded.clone());
        let help = "Breaks of the audit trail that were accepted";
        registry.register("audit_breaks_accepted", help, self.audit_breaks_accepted.clone());
        registry.register("rate_limited", "Requests over a limit or budget, by limit", self.rate_limited.clone());
        let help = "Log lines that were lost because nothing read the stream fast enough";
        registry.register("log_lines_dropped", help, self.log_lines_dropped.clone());
        let help = "Requests whose sender did not prove the key that its token is bound to, by reason";
        registry.register("proofs_rejected", help, self.proofs_rejected.clone());
        let help = "TLS handshakes that failed, by reason";
        registry.register("tls_handshakes_failed", help, self.tls_handshakes_failed.clone());
        let help = "1 while the certificate files cannot be used and older certificates are shown";
        registry.register("tls_renewal_failing", help, self.tls_renewal_failing.clone());
        self.keys.register(registry);
        self.warnings.register(registry);
        self.verifiers.register(registry);
        self.attestations.register(registry);
        self
    }

    /// Creates counters at zero: a rate over a counter that appears with its first event misses that event.
    fn with_known_labels(self) -> Self {
        for status in [Status::Success, Status::Failure] {
            drop(self.registrations.get_or_create(&status.label()));
            drop(self.admin_auth.get_or_create(&status.label()));
        }
        for limit in RATE_LIMITS {
            drop(self.rate_limited.get_or_create(&Label::fixed("limit", limit)));
        }
        for reason in PROOF_REASONS {
            drop(self.proofs_rejected.get_or_create(&Label::fixed("reason", reason)));
        }
        for level in ["token", "agent", "task", "chain"] {
            drop(self.tokens_revoked.get_or_create(&Label::fixed("level", level)));
        }
        self
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Status {
    fn label(self) -> Label {
        Label::fixed(
            "status",
            match self {
                Self::Success => "success",
                Self::Failure => "failure",
            },
        )
    }
}

/// Labels of the limits: see `limits::logins` and `limits::budgets`.
const RATE_LIMITS: [&str; 12] = [
    "renewals",
    "delegations",
    "descendant_renewals",
    "descendant_delegations",
    "registrations",
    "rule_registrations",
    "app_registrations",
    "launch_tokens",
    "app_logins",
    "admin_logins",
    "failed_app_logins",
    "failed_admin_logins",
];

/// Reasons for rejecting proofs that tell of theft, or of a wrong external URL.
const PROOF_REASONS: [&str; 7] = [
    "proof_required",
    "not_sender_constrained",
    "proof_bad_signature",
    "proof_replayed",
    "proof_wrong_key",
    "proof_wrong_token",
    "proof_wrong_url",
];

/// Up to the 25 s of a long poll and the 30 s of the request timeout.
const REQUEST_SECONDS: [f64; 15] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const WRITE_SECONDS: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

#[cfg(test)]
mod tests;
