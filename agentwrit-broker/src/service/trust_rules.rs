//! Trust rules: added and removed by the operator.
//!
//! 1. A rule is for an app that is not deregistered, and lies within its ceiling; registrations look at both as they are then.
//! 2. From the commit of its removal on, or of the deregistration of its app, a rule permits no registration, at any broker. Agents that it permitted before keep
//!    their tokens until they expire or are revoked.

use std::{fmt, net::IpAddr, sync::Arc};

use agentwrit_protocol::{ClaimMatch, TrustRuleRequest};
use agentwrit_verify::{Subject, UnixTime};
use data_encoding::HEXLOWER;

use super::{Bearer, Error, Parts, checks::transact_as};
use crate::{
    attestation::Attestor,
    audit::{EventType, NewEvent},
    domain::{AppName, AppStatus, ClaimName, Digest, IdTemplate, RuleKeys, TrustRule, TrustRuleId},
    issuer::Issuer,
    ledger::Ledger,
    store::{Page, Wants},
};

/// Largest number of trust rules.
pub(super) const MAX_TRUST_RULES: u64 = 1000;

/// Adds and removes trust rules.
#[derive(Debug)]
pub(crate) struct TrustRuleService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    attestor: Arc<Attestor>,
}

impl TrustRuleService {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { issuer, ledger, attestor, .. } = parts;
        Self { issuer, ledger, attestor }
    }

    /// Adds a rule.
    pub(crate) async fn add(
        self: &Arc<Self>,
        by: Subject,
        bearer: Option<Bearer>,
        request: TrustRuleRequest,
        client: IpAddr,
    ) -> Result<TrustRule, Error> {
        let rule = self.draft(by, request)?;
        let service = Arc::clone(self);
        let wants = Wants::none().app(&rule.app_id);
        transact_as(&self.ledger, &self.issuer, bearer, wants, move |tx, now| {
            let app = tx.app(&rule.app_id)?.filter(|app| app.status != AppStatus::Inactive).ok_or(Error::AppUnknown)?;
            if let Some(scope) = app.scopes.first_uncovered(&rule.allowed_scope) {
                return Err(Error::ExceedsCeiling { scope: scope.clone() });
            }
            let (_, total) = tx.trust_rules(&Page { limit: 0, offset: 0, after: 0 })?;
            if total >= MAX_TRUST_RULES {
                return Err(Error::TooManyTrustRules);
            }
            let rule = TrustRule { created_at: now, ..rule };
            let rule = tx.insert_trust_rule(rule)?.ok_or(Error::TrustRuleExists)?;
            service.ledger.record(tx, added(&rule, now, client))?;
            Ok(rule)
        })
        .await
    }

    /// Removes a rule.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        by: Subject,
        bearer: Option<Bearer>,
        id: TrustRuleId,
        client: IpAddr,
    ) -> Result<(), Error> {
        let service = Arc::clone(self);
        let wants = Wants::none().trust_rule(&id);
        transact_as(&self.ledger, &self.issuer, bearer, wants, move |tx, now| {
            let rule = tx.trust_rule(&id)?.ok_or(Error::NoSuchTrustRule)?;
            tx.delete_trust_rule(&id)?;
            Ok(service.ledger.record(tx, removed(&rule, &by, now, client))?)
        })
        .await
    }

    /// Returns a page of all rules in the order of their creation, each with its cursor, and the total.
    pub(crate) async fn list(&self, page: Page) -> Result<(Vec<(u64, TrustRule)>, u64), Error> {
        self.ledger.read(move |reader| Ok(reader.trust_rules(&page)?)).await
    }

    fn draft(&self, created_by: Subject, request: TrustRuleRequest) -> Result<TrustRule, Error> {
        let name = AppName::parse(&request.name).map_err(|error| Error::invalid("name", error.to_string()))?;
        let keys = match (request.jwks_url, request.jwks) {
            (Some(url), None) => RuleKeys::Url(url),
            (None, Some(set)) => RuleKeys::Set(set),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Error::invalid("jwks_url or jwks", "exactly one of them is required"));
            }
        };
        let claims = request.claims.into_iter().map(|(name, condition)| Ok((claim_name(&name)?, condition)));
        let rule = TrustRule {
            id: TrustRuleId::new(&name, self.issuer.random()),
            name,
            app_id: request.app_id,
            kind: request.kind,
            issuer: request.issuer,
            keys,
            audience: request.audience,
            claims: claims.collect::<Result<_, Error>>()?,
            allowed_scope: request.allowed_scope,
            max_ttl: self.issuer.policy().clamp(request.max_ttl),
            task_template: template("task_template", request.task_template.as_deref())?,
            orch_template: template("orch_template", request.orch_template.as_deref())?,
            token_review: request.token_review,
            created_at: UnixTime::default(),
            created_by,
        };
        rule.check()
            .and_then(|()| self.attestor.check_rule(&rule))
            .map_err(|error| Error::invalid(error.member, error.problem))?;
        Ok(rule)
    }
}

fn claim_name(text: &str) -> Result<ClaimName, Error> {
    ClaimName::parse(text).map_err(|error| Error::invalid("claims", error.to_string()))
}

fn template(member: &'static str, text: Option<&str>) -> Result<Option<IdTemplate>, Error> {
    let parsed = text.map(IdTemplate::parse).transpose();
    parsed.map_err(|error| Error::invalid(member, error.to_string()))
}

pub(super) fn removed(rule: &TrustRule, by: &Subject, now: UnixTime, client: IpAddr) -> NewEvent {
    event(EventType::TrustRuleRemoved, now, by, "trust rule removed", rule).from(client)
}

fn added(rule: &TrustRule, now: UnixTime, client: IpAddr) -> NewEvent {
    let event = event(EventType::TrustRuleAdded, now, &rule.created_by, "trust rule added", rule)
        .word("audience", &rule.audience)
        .word("claims", Conditions(&rule.claims))
        .word("allowed_scope", &rule.allowed_scope)
        .word("max_ttl", rule.max_ttl);
    let templates = [("task_template", &rule.task_template), ("orch_template", &rule.orch_template)];
    let event = templates.into_iter().fold(event, |event, (key, template)| match template {
        Some(template) => event.word(key, template),
        None => event,
    });
    event.word("token_review", rule.token_review).from(client)
}

/// An event that names the app, the issuer and the keys of a rule, which the store forgets with the rule.
fn event(event_type: EventType, now: UnixTime, by: &Subject, detail: &str, rule: &TrustRule) -> NewEvent {
    let event = NewEvent::success(event_type, now, by, detail)
        .resource(&rule.id)
        .word("app_id", &rule.app_id)
        .word("kind", rule.kind.as_str())
        .word("issuer", &rule.issuer);
    match &rule.keys {
        RuleKeys::Url(url) => event.word("jwks_url", url),
        RuleKeys::Set(set) => {
            event.word("jwks_sha256", HEXLOWER.encode(Digest::of(set.as_str().as_bytes()).as_bytes()))
        }
    }
}

/// Conditions of a rule, for a person: `sub=repo:acme/* ref=refs/heads/main`.
struct Conditions<'r>(&'r [(ClaimName, ClaimMatch)]);

impl fmt::Display for Conditions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, condition)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            match condition {
                ClaimMatch::Equals(value) => write!(f, "{separator}{name}={value}")?,
                ClaimMatch::Prefix(prefix) => write!(f, "{separator}{name}={prefix}*")?,
            }
        }
        Ok(())
    }
}
