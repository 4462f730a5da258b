//! Revocation of tokens, agents, tasks and chains.
//!
//! 1. A token is revoked with its session: every renewal of it, and everything delegated from it.
//! 2. `agent`, `task` and `chain` are not-before marks: tokens issued from the next second on are valid. An agent, though,
//!    is barred for good: it never receives another token.
//! 3. The mark, the ended tokens, the bar and the audit event are one transaction; verifiers learn of it afterwards.
//! 4. Unused launch tokens are deleted with the session, the app or the operator's tokens that requested them.
//! 5. A target that matches nothing changes nothing, and the response says so.
//! 6. A dry run is the same transaction, undone at its end. Like every read it leaves no audit event. One runs at a time: many
//!    of them, of a target with many tokens, would leave no time for other transactions.
//! 7. The response names the end of the log after the revocation: a verifier that has applied it applies this revocation,
//!    and earlier ones of the same target.

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::{RevocationRequest, RevocationTarget};
use agentwrit_verify::{FeedCursor, Level, Subject, TokenId, UnixTime};

use tokio::sync::Semaphore;

use super::{Bearer, Error, Parts, active_agents::ActiveAgents, checks::transact_as};
use crate::{
    audit::{EventType, NewEvent},
    domain::Revocation,
    feed::FeedPublisher,
    issuer::Issuer,
    keys::is_secret_shaped,
    ledger::Ledger,
    store::{EndedTokens, StoreError, Tx, Wants},
    telemetry::metrics::Metrics,
};

/// Outcome of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revoked {
    /// True if the target is known.
    pub(crate) revoked: bool,
    /// Number of live tokens that it ended.
    pub(crate) count: u64,
}

/// Outcome of a revocation or of a dry run, and the end of the log after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevocationOutcome {
    pub(crate) ended: Revoked,
    /// Number of agents whose live tokens it ended.
    pub(crate) agents: u64,
    /// Number of tasks whose live tokens it ended.
    pub(crate) tasks: u64,
    pub(crate) cursor: FeedCursor,
}

/// Revokes tokens, agents, tasks and chains.
#[derive(Debug)]
pub(crate) struct RevocationService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    feed: FeedPublisher,
    active_agents: Arc<ActiveAgents>,
    metrics: Arc<Metrics>,
    /// Place of the dry run that has its turn.
    dry_runs: Semaphore,
}

impl RevocationService {
    /// Takes the turn of dry runs.
    #[cfg(test)]
    pub(super) fn hold_dry_runs(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.dry_runs.try_acquire().unwrap()
    }

    pub(super) fn new(parts: Parts) -> Self {
        let Parts { issuer, ledger, feed, active_agents, metrics, .. } = parts;
        Self { issuer, ledger, feed, active_agents, metrics, dry_runs: Semaphore::new(1) }
    }

    /// Revokes, or counts what would be revoked. Repeating it is harmless. `client` is the address of the request, if there
    /// is one.
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        by: Subject,
        bearer: Option<Bearer>,
        request: RevocationRequest,
        client: impl Into<Option<IpAddr>>,
    ) -> Result<RevocationOutcome, Error> {
        let client = client.into();
        let (service, level, dry_run) = (Arc::clone(self), request.level, request.dry_run);
        // The semaphore is never closed.
        let _turn = if dry_run { self.dry_runs.acquire().await.ok() } else { None };
        let outcome = transact_as(&self.ledger, &self.issuer, bearer, wants_of(&request), move |tx, now| {
            let ended = end(tx, &request, now, service.ledger.deletable_until())?;
            if dry_run {
                tx.undo();
                return outcome(tx, &ended);
            }
            let event = event(&by, &request, &ended, now);
            let event = match client {
                Some(client) => event.from(client),
                None => event,
            };
            service.ledger.record(tx, event)?;
            if ended.known {
                for revocation in entries(by, &request, &ended, now) {
                    service.feed.publish(tx, revocation)?;
                }
                service.active_agents.recount_after(tx);
            }
            outcome(tx, &ended)
        })
        .await?;
        if outcome.ended.revoked && !dry_run {
            self.metrics.tokens_revoked(level.as_str(), outcome.ended.count);
        }
        Ok(outcome)
    }
}

/// Tokens and launch tokens that a revocation ended.
#[derive(Debug, Default)]
struct Found {
    /// True if the target is known, ended or not.
    known: bool,
    tokens: EndedTokens,
    launch_tokens: u64,
    /// Session of a revoked token.
    session: Option<TokenId>,
}

/// Rows that the revocation of a target reads.
fn wants_of(request: &RevocationRequest) -> Wants {
    match &request.target {
        None => Wants::none(),
        Some(RevocationTarget::Token(jti)) => Wants::none().token(jti),
        Some(RevocationTarget::Subject(subject) | RevocationTarget::Chain(subject)) => match subject {
            Subject::Agent(agent) => Wants::none().agent(agent),
            Subject::App(app) => Wants::none().app(app).name(&subject.to_string()),
            Subject::Admin => Wants::none().name(&subject.to_string()),
        },
        Some(RevocationTarget::Task(task)) => Wants::none().name(task.as_str()),
    }
}

/// Ends what the target stands for, in the store. What expired until `past` has expired for certain.
fn end(tx: &mut Tx<'_>, request: &RevocationRequest, now: UnixTime, past: UnixTime) -> Result<Found, StoreError> {
    let Some(target) = &request.target else { return Ok(Found::default()) };
    let found = match target {
        RevocationTarget::Token(jti) => {
            // A forgotten token, because it has expired, may have begun the session that goes on.
            let sid = tx.token(jti)?.map_or(*jti, |token| token.sid);
            let launch_tokens = tx.delete_unused_launch_tokens_of_session(&sid)?;
            let tokens = tx.end_session(&sid, now, past)?;
            Found { known: tokens.known || launch_tokens > 0, tokens, launch_tokens, session: Some(sid) }
        }
        RevocationTarget::Subject(subject) => {
            let tokens = tx.end_tokens_of(Level::Agent, &subject.to_string(), now, past)?;
            let (exists, launch_tokens) = match subject {
                Subject::Admin => (true, tx.delete_unused_launch_tokens_by(subject)?),
                Subject::App(app) => (tx.app(app)?.is_some(), tx.delete_unused_launch_tokens_by(subject)?),
                Subject::Agent(agent) => (tx.bar_agent(agent, now)?, 0),
            };
            Found { known: tokens.known || exists || launch_tokens > 0, tokens, launch_tokens, session: None }
        }
        RevocationTarget::Task(task) => {
            let tokens = tx.end_tokens_of(Level::Task, task.as_str(), now, past)?;
            Found { known: tokens.known, tokens, ..Found::default() }
        }
        RevocationTarget::Chain(root) => {
            let tokens = tx.end_tokens_of(Level::Chain, &root.to_string(), now, past)?;
            let registered = match root.as_agent() {
                Some(agent) => tx.agent(agent)?.is_some(),
                None => false,
            };
            Found { known: tokens.known || registered, tokens, ..Found::default() }
        }
    };
    Ok(found)
}

/// Returns the outcome of a transaction that has written its entries.
fn outcome(tx: &Tx<'_>, found: &Found) -> Result<RevocationOutcome, Error> {
    let cursor = FeedCursor::new(&tx.epoch()?, tx.latest_cursor()?)
        .map_err(|error| StoreError::Corrupt { cause: format!("the epoch of the log: {error}") })?;
    let EndedTokens { count, agents, tasks, .. } = found.tokens;
    Ok(RevocationOutcome { ended: Revoked { revoked: found.known, count }, agents, tasks, cursor })
}

/// Returns the entries of the log: none when every token that they could affect has expired for certain.
fn entries(by: Subject, request: &RevocationRequest, ended: &Found, now: UnixTime) -> Vec<Revocation> {
    let Some(expires_at) = ended.tokens.last_expiry else { return Vec::new() };
    let requested = Revocation {
        level: request.level,
        target: request.text.clone(),
        revoked_at: now,
        expires_at,
        revoked_by: by,
        reason: request.reason.clone(),
        listed: true,
    };
    let whole_session = ended.session.map(|sid| Revocation {
        level: Level::Session,
        target: sid.to_string(),
        listed: false,
        ..requested.clone()
    });
    let ahead = requested.of_those_ahead(&ended.tokens.ahead);
    ahead.chain([requested.clone()]).chain(whole_session).collect()
}

fn event(by: &Subject, request: &RevocationRequest, ended: &Found, now: UnixTime) -> NewEvent {
    let event = if ended.known {
        NewEvent::success(EventType::TokenRevoked, now, by, "revoked")
    } else {
        NewEvent::denied(EventType::TokenRevoked, now, by, "nothing to revoke matches the target")
    };
    let event = event.word("level", request.level);
    let event = if may_be_recorded(request, ended) {
        event.resource(&request.text).word("target", &request.text)
    } else {
        event.word("target", "malformed")
    };
    let event = event.word("killed", ended.tokens.count);
    let event = match ended.launch_tokens {
        0 => event,
        deleted => event.word("launch_tokens_deleted", deleted),
    };
    match &request.reason {
        Some(reason) => event.word("reason", reason),
        None => event,
    }
}

/// Returns whether the audit trail may hold the target. Operators in a hurry paste a token instead of its name: a text
/// that names nothing and can name nothing is left out.
fn may_be_recorded(request: &RevocationRequest, ended: &Found) -> bool {
    ended.known
        || match &request.target {
            Some(RevocationTarget::Token(_) | RevocationTarget::Subject(_)) => true,
            Some(RevocationTarget::Chain(root)) => root.as_agent().is_some(),
            // Launch tokens and client secrets could be task ids too.
            Some(RevocationTarget::Task(_)) => !is_secret_shaped(&request.text),
            None => false,
        }
}
