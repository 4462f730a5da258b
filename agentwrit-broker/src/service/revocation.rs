//! Revoking: tokens, agents, tasks and chains.
//!
//! 1. A token is revoked with its session: every renewal of it, and everything delegated from it.
//! 2. `agent`, `task` and `chain` are not-before marks: what is issued from the next second on lives. An agent, though,
//!    is barred for good: it never receives another token.
//! 3. The mark, the ended tokens, the bar and the audit event are one transaction; verifiers are told after it.
//! 4. Unused launch tokens die with the session, the app or the operator's tokens that asked for them: they are deleted.
//! 5. A target that nothing matches changes nothing and says so.

use std::{net::IpAddr, sync::Arc};

use agentwrit_verify::{AgentId, Level, PathSegment, Subject, TokenId, UnixTime};

use super::{Error, active_agents::ActiveAgents, checks::transact_as};
use crate::{
    audit::{EventType, NewEvent},
    domain::Revocation,
    feed::FeedPublisher,
    keys::is_secret_shaped,
    ledger::Ledger,
    store::{Ended, StoreError, Tx},
    telemetry::metrics::Metrics,
};

/// What an operator asks for.
#[derive(Clone, Debug)]
pub(crate) struct RevocationRequest {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) reason: Option<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revoked {
    /// Whether the target is known.
    pub(crate) revoked: bool,
    /// How many live tokens it killed.
    pub(crate) count: u64,
}

/// Revokes tokens, agents, tasks and chains.
#[derive(Debug)]
pub(crate) struct RevocationService {
    pub(super) ledger: Arc<Ledger>,
    pub(super) feed: FeedPublisher,
    pub(super) active_agents: Arc<ActiveAgents>,
    pub(super) metrics: Arc<Metrics>,
}

impl RevocationService {
    /// Revokes. Repeating it is harmless.
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        by: Subject,
        bearer: Option<TokenId>,
        request: RevocationRequest,
        client: IpAddr,
    ) -> Result<Revoked, Error> {
        let (service, level) = (Arc::clone(self), request.level);
        let revoked = transact_as(&self.ledger, bearer, move |tx, now| {
            let ended = end(tx, &request, now, service.ledger.forgotten_until())?;
            let launch_tokens = delete_launch_tokens(tx, &request)?;
            let ended = Ended { known: ended.known || launch_tokens > 0, ..ended };
            let event = event(&by, &request, &ended, launch_tokens, now).from(client);
            service.ledger.record(tx, event)?;
            if !ended.known {
                return Ok(Revoked { revoked: false, count: 0 });
            }
            for revocation in entries(tx, &by, &request, &ended, now)? {
                service.feed.publish(tx, revocation)?;
            }
            service.active_agents.recount_after(tx);
            Ok(Revoked { revoked: true, count: ended.count })
        })
        .await?;
        if revoked.revoked {
            self.metrics.tokens_revoked(level.as_str(), revoked.count);
        }
        Ok(revoked)
    }
}

/// Ends what the target stands for, in the store.
fn end(tx: &mut Tx<'_>, request: &RevocationRequest, now: UnixTime, past: UnixTime) -> Result<Ended, Error> {
    let target = request.target.as_str();
    match request.level {
        Level::Token => {
            let Some(jti) = TokenId::parse(target).ok() else { return Ok(Ended::default()) };
            let sid = session_of(tx, jti)?;
            Ok(tx.end_session(&sid, now, past)?)
        }
        Level::Agent => {
            let ended = tx.end_named(Level::Agent, target, now, past)?;
            // Also when it has tokens: an agent's bar is set here.
            let exists = is_known(tx, target, now)?;
            Ok(Ended { known: ended.known || exists, ..ended })
        }
        Level::Chain => {
            let ended = tx.end_named(Level::Chain, target, now, past)?;
            let registered = match AgentId::parse(target) {
                Ok(agent) => tx.agent(&agent)?.is_some(),
                Err(_) => false,
            };
            Ok(Ended { known: ended.known || registered, ..ended })
        }
        Level::Task => Ok(tx.end_named(Level::Task, target, now, past)?),
        Level::Session | Level::Issuer => Ok(Ended::default()),
    }
}

/// Deletes the unused launch tokens that were minted with what is revoked; how many.
fn delete_launch_tokens(tx: &mut Tx<'_>, request: &RevocationRequest) -> Result<u64, Error> {
    Ok(match request.level {
        Level::Token => match TokenId::parse(&request.target) {
            Ok(jti) => {
                let sid = session_of(tx, jti)?;
                tx.delete_unused_launch_tokens_of_session(&sid)?
            }
            Err(_) => 0,
        },
        Level::Agent => match Subject::parse(&request.target) {
            Ok(creator @ (Subject::App(_) | Subject::Admin)) => tx.delete_unused_launch_tokens_by(&creator)?,
            // Agents ask for none.
            Ok(Subject::Agent(_)) | Err(_) => 0,
        },
        Level::Task | Level::Chain | Level::Session | Level::Issuer => 0,
    })
}

/// The session of a token. One that is forgotten, because it has expired, may have begun the session that goes on.
fn session_of(tx: &Tx<'_>, jti: TokenId) -> Result<TokenId, StoreError> {
    Ok(tx.token(&jti)?.map_or(jti, |token| token.sid))
}

/// Whether a subject exists, with tokens or without; an agent is barred at the same time.
fn is_known(tx: &mut Tx<'_>, target: &str, now: UnixTime) -> Result<bool, Error> {
    Ok(match Subject::parse(target) {
        Ok(Subject::Admin) => true,
        Ok(Subject::App(app)) => tx.app(&app)?.is_some(),
        Ok(Subject::Agent(agent)) => tx.bar_agent(&agent, now)?,
        Err(_) => false,
    })
}

/// The entries of the log: none when every token that they could affect has expired for certain.
fn entries(
    tx: &Tx<'_>,
    by: &Subject,
    request: &RevocationRequest,
    ended: &Ended,
    now: UnixTime,
) -> Result<Vec<Revocation>, Error> {
    let Some(expires_at) = ended.last_expiry else { return Ok(Vec::new()) };
    let asked = Revocation {
        level: request.level,
        target: request.target.clone(),
        revoked_at: now,
        expires_at,
        revoked_by: by.clone(),
        reason: request.reason.clone(),
        listed: true,
    };
    let token = match request.level {
        Level::Token => TokenId::parse(&request.target).ok(),
        Level::Session | Level::Agent | Level::Task | Level::Chain | Level::Issuer => None,
    };
    let session = token.map(|jti| session_of(tx, jti)).transpose()?;
    let whole_session = session.map(|sid| Revocation {
        level: Level::Session,
        target: sid.to_string(),
        listed: false,
        ..asked.clone()
    });
    let ahead = asked.of_those_ahead(&ended.ahead);
    Ok(ahead.chain([asked.clone()]).chain(whole_session).collect())
}

fn event(by: &Subject, request: &RevocationRequest, ended: &Ended, launch_tokens: u64, now: UnixTime) -> NewEvent {
    let event = if ended.known {
        NewEvent::success(EventType::TokenRevoked, now, by, "revoked")
    } else {
        NewEvent::denied(EventType::TokenRevoked, now, by, "nothing to revoke matches the target")
    };
    let event = event.word("level", request.level);
    let event = match recordable(request, ended) {
        Some(target) => event.resource(target).word("target", target),
        None => event.word("target", "malformed"),
    };
    let event = event.word("killed", ended.count);
    let event = if launch_tokens > 0 { event.word("launch_tokens_deleted", launch_tokens) } else { event };
    match &request.reason {
        Some(reason) => event.word("reason", reason),
        None => event,
    }
}

/// The target as the trail may hold it. In a hurry people paste a token instead of its name: what names nothing, and
/// can't, is left out.
fn recordable<'r>(request: &'r RevocationRequest, ended: &Ended) -> Option<&'r str> {
    let target = request.target.as_str();
    let well_formed = match request.level {
        Level::Token => TokenId::parse(target).is_ok(),
        Level::Agent => Subject::parse(target).is_ok(),
        Level::Chain => AgentId::parse(target).is_ok(),
        // Launch tokens and client secrets could be task ids too.
        Level::Task => PathSegment::parse(target).is_ok() && !is_secret_shaped(target),
        Level::Session | Level::Issuer => false,
    };
    (ended.known || well_formed).then_some(target)
}
