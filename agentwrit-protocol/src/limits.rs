//! Numbers that a broker and its clients agree on (contract §1 and §4). Durations are whole seconds.

/// Largest request body, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// Deepest nesting of a JSON document, requests and responses alike.
pub const MAX_JSON_DEPTH: usize = 16;

/// Longest lifetime of any token: 24 hours.
pub const MAX_TOKEN_TTL: u64 = 86_400;

/// Shortest lifetime of an app's own token.
pub const MIN_APP_TOKEN_TTL: u64 = 60;

/// Longest time for which an app's former secret is accepted beside the new one: 7 days.
pub const MAX_SECRET_OVERLAP: u64 = 604_800;

/// Time for which an app's former secret is accepted unless the request sets another.
pub const DEFAULT_SECRET_OVERLAP: u64 = 3600;

/// Longest time that a launch token can be used.
pub const MAX_LAUNCH_TOKEN_TTL: u64 = 3600;

/// Time that a launch token can be used unless the request sets another.
pub const DEFAULT_LAUNCH_TOKEN_TTL: u64 = 30;

/// Lifetime of an agent's token unless launch token or broker set another.
pub const DEFAULT_TOKEN_TTL: u64 = 300;

/// Lifetime of an app's own token unless app or broker set another.
pub const DEFAULT_APP_TOKEN_TTL: u64 = 1800;

/// Lifetime of a delegated token unless the request sets another.
pub const DEFAULT_DELEGATION_TTL: u64 = 60;

/// Time that a nonce can be used.
pub const NONCE_LIFETIME: u64 = 30;

/// Longest time that the broker holds a request to the revocation feed.
pub const MAX_FEED_WAIT: u64 = 25;

/// Largest bound on staleness that a verifier may be enrolled with: one day.
pub const MAX_VERIFIER_BOUND: u64 = 86_400;

/// Largest number of pending instances that a confirmation lists.
pub const MAX_LISTED_PENDING: usize = 100;

/// Largest page of a list.
pub const MAX_PAGE: u64 = 1000;

/// Size of a page unless the request sets another.
pub const DEFAULT_PAGE: u64 = 100;

/// Longest reason of a revocation, in bytes.
pub const MAX_REASON: usize = 512;

/// Longest assertion of another issuer, in bytes.
pub const MAX_ASSERTION: usize = 8192;

/// Largest number of claims that a trust rule names.
pub const MAX_RULE_CLAIMS: usize = 16;

/// Longest name of a claim in a trust rule, in bytes.
pub const MAX_CLAIM_NAME: usize = 256;

/// Longest value or prefix of a claim in a trust rule, in bytes.
pub const MAX_CLAIM_VALUE: usize = 1024;

/// Longest template of a task or an orchestration, in bytes.
pub const MAX_TEMPLATE: usize = 512;

/// Longest key set in a trust rule, in bytes.
pub const MAX_JWKS: usize = 64 * 1024;

/// Largest number of keys of another issuer's key set.
pub const MAX_JWKS_KEYS: usize = 64;
