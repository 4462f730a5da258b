//! Apps: registration, changes of their ceiling, rotation of their secret, suspension, resumption and deregistration.

use std::{net::IpAddr, sync::Arc, time::Duration};

use agentwrit_protocol::{
    AppUpdateRequest,
    limits::{DEFAULT_SECRET_OVERLAP, MAX_TOKEN_TTL},
};
use agentwrit_verify::{AppId, Level, ScopeSet, Subject, UnixTime};
use data_encoding::HEXLOWER;

use super::{Bearer, Error, Parts, active_agents::ActiveAgents, checks::transact_as, trust_rules};
use crate::{
    audit::{EventType, NewEvent},
    domain::{App, AppName, AppStatus, Digest, FormerSecret, Revocation},
    feed::FeedPublisher,
    issuer::Issuer,
    keys::Secret,
    ledger::Ledger,
    store::{Tx, Wants},
};

/// Problem of a change that would let agents of an app have unbound tokens again.
const LOOSENED_BINDING: &str = "an app whose agents have bound tokens cannot give that up: register another app";

/// A new app, as the operator describes it.
#[derive(Clone, Debug)]
pub(crate) struct NewApp {
    pub(crate) name: AppName,
    pub(crate) scopes: ScopeSet,
    /// Seconds.
    pub(crate) token_ttl: Option<u64>,
    pub(crate) sender_constrained: bool,
}

/// Registers apps and changes them.
#[derive(Debug)]
pub(crate) struct AppService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    feed: FeedPublisher,
    active_agents: Arc<ActiveAgents>,
}

impl AppService {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { issuer, ledger, feed, active_agents, .. } = parts;
        Self { issuer, ledger, feed, active_agents }
    }

    /// Registers an app. Its secret is in the result and nowhere else.
    pub(crate) async fn create(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        new: NewApp,
        client: IpAddr,
    ) -> Result<(App, Secret), Error> {
        self.issuer.policy().check_binding(new.sender_constrained)?;
        let secret = self.new_secret();
        let app = self.name_app(new, &secret)?;
        let service = Arc::clone(self);
        let app = transact_as(&self.ledger, &self.issuer, bearer, Wants::none(), move |tx, now| {
            let app = App { created_at: now, updated_at: now, ..app };
            if !tx.insert_app(&app)? {
                return Err(Error::NameTaken);
            }
            let event = by_operator(EventType::AppRegistered, now, client, "app registered", &app.app_id)
                .word("client_id", &app.client_id)
                .word("scopes", &app.scopes)
                .word("token_ttl", app.token_ttl)
                .word("sender_constrained", app.sender_constrained);
            service.ledger.record(tx, event)?;
            Ok(app)
        })
        .await?;
        Ok((app, secret))
    }

    fn new_secret(&self) -> Secret {
        Secret::new(HEXLOWER.encode(&self.issuer.random::<32>()))
    }

    fn name_app(&self, new: NewApp, secret: &Secret) -> Result<App, Error> {
        let name = new.name;
        let app_id = AppId::new(name.as_str(), self.issuer.random())
            .map_err(|error| Error::invalid("name", error.to_string()))?;
        let client_id = format!("{}-{}", initials(&name), HEXLOWER.encode(&self.issuer.random::<6>()));
        Ok(App {
            app_id,
            client_id,
            secret_digest: Digest::of(secret.expose().as_bytes()),
            former_secret: None,
            scopes: new.scopes,
            token_ttl: new.token_ttl.unwrap_or(self.issuer.policy().app_token_ttl),
            sender_constrained: new.sender_constrained,
            status: AppStatus::Active,
            created_at: UnixTime::default(),
            updated_at: UnixTime::default(),
            deregistered_at: None,
            name,
        })
    }

    /// Finds an app, deregistered ones too.
    pub(crate) async fn find(&self, app_id: AppId) -> Result<App, Error> {
        self.ledger.read(move |reader| Ok(reader.app(&app_id)?)).await.and_then(|found| found.ok_or(Error::AppUnknown))
    }

    /// Returns a page of apps in the order of their registration, and the number of all.
    pub(crate) async fn list(&self, limit: u64, offset: u64) -> Result<(Vec<App>, u64), Error> {
        self.ledger.read(move |reader| Ok(reader.apps(limit, offset)?)).await
    }

    /// Changes an app that is not deregistered. Registrations, renewals and delegations follow the new ceiling and the new
    /// binding at once. A binding is tightened, never loosened.
    pub(crate) async fn update(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        app_id: AppId,
        change: AppUpdateRequest,
        client: IpAddr,
    ) -> Result<App, Error> {
        self.issuer.policy().check_binding(change.sender_constrained == Some(true))?;
        let service = Arc::clone(self);
        transact_as(&self.ledger, &self.issuer, bearer, Wants::none().app(&app_id), move |tx, now| {
            let before = tx.app(&app_id)?.filter(|app| app.status != AppStatus::Inactive).ok_or(Error::AppUnknown)?;
            if before.sender_constrained && change.sender_constrained == Some(false) {
                return Err(Error::invalid("sender_constrained", LOOSENED_BINDING));
            }
            let after = App {
                scopes: change.scopes.unwrap_or_else(|| before.scopes.clone()),
                token_ttl: change.token_ttl.unwrap_or(before.token_ttl),
                sender_constrained: change.sender_constrained.unwrap_or(before.sender_constrained),
                updated_at: now,
                ..before.clone()
            };
            tx.update_app(&after)?;
            let event = by_operator(EventType::AppUpdated, now, client, "app updated", &app_id);
            let event = event.word("token_ttl", after.token_ttl);
            service.ledger.record(tx, event.word("sender_constrained", after.sender_constrained))?;
            if after.scopes != before.scopes {
                let event = by_operator(EventType::ScopesCeilingUpdated, now, client, "scope ceiling updated", &app_id);
                service.ledger.record(tx, event.word("old", &before.scopes).word("new", &after.scopes))?;
            }
            Ok(after)
        })
        .await
    }

    /// Gives an app that is not deregistered a new secret, which is in the result and nowhere else. The one before it is
    /// accepted for `overlap` seconds more, any earlier one not. Tokens that the app holds stay valid.
    pub(crate) async fn rotate_secret(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        app_id: AppId,
        overlap: Option<u64>,
        client: IpAddr,
    ) -> Result<(App, Secret), Error> {
        let secret = self.new_secret();
        let digest = Digest::of(secret.expose().as_bytes());
        let overlap = overlap.unwrap_or(DEFAULT_SECRET_OVERLAP);
        let service = Arc::clone(self);
        let app = transact_as(&self.ledger, &self.issuer, bearer, Wants::none().app(&app_id), move |tx, now| {
            let before = tx.app(&app_id)?.filter(|app| app.status != AppStatus::Inactive).ok_or(Error::AppUnknown)?;
            let expires_at = now.saturating_add(Duration::from_secs(overlap));
            let former = FormerSecret { digest: before.secret_digest, expires_at };
            let former_secret = (overlap > 0).then_some(former);
            let app = App { secret_digest: digest, former_secret, updated_at: now, ..before };
            tx.update_app(&app)?;
            let event = by_operator(EventType::AppSecretRotated, now, client, "app secret rotated", &app_id);
            service.ledger.record(tx, event.word("client_id", &app.client_id).word("overlap", overlap))?;
            Ok(app)
        })
        .await?;
        Ok((app, secret))
    }

    /// Gives an app another status. An app that has it already stays as it is; a deregistered one stays deregistered.
    ///
    /// - Suspended: its tokens are revoked and its unused launch tokens deleted; until it is active again it cannot log in,
    ///   nor can its agents register, renew, or take part in a delegation.
    /// - Inactive: the same, for good, and its trust rules are removed. Tokens of its agents stay valid until they expire.
    /// - Active: it may log in again, and its agents go on.
    pub(crate) async fn set_status(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        app_id: AppId,
        status: AppStatus,
        client: IpAddr,
    ) -> Result<App, Error> {
        let service = Arc::clone(self);
        transact_as(&self.ledger, &self.issuer, bearer, Wants::none().app(&app_id), move |tx, now| {
            let before = tx.app(&app_id)?.ok_or(Error::AppUnknown)?;
            if before.status == status {
                return Ok(before);
            }
            if before.status == AppStatus::Inactive {
                return Err(Error::AppUnknown);
            }
            let deregistered_at = (status == AppStatus::Inactive).then_some(now);
            let app = App { status, updated_at: now, deregistered_at, ..before };
            tx.update_app(&app)?;
            let (event_type, detail) = match status {
                AppStatus::Active => (EventType::AppResumed, "app resumed"),
                AppStatus::Suspended => (EventType::AppSuspended, "app suspended"),
                AppStatus::Inactive => (EventType::AppDeregistered, "app deregistered"),
            };
            let event = by_operator(event_type, now, client, detail, &app_id);
            let event = match status {
                AppStatus::Active => event,
                AppStatus::Suspended | AppStatus::Inactive => {
                    event.word("launch_tokens_deleted", service.revoke_app_tokens(tx, &app_id, now, detail)?)
                }
            };
            service.ledger.record(tx, event)?;
            if status == AppStatus::Inactive {
                service.remove_trust_rules(tx, &app_id, now, client)?;
            }
            service.active_agents.recount_after(tx);
            Ok(app)
        })
        .await
    }

    fn remove_trust_rules(&self, tx: &mut Tx<'_>, app_id: &AppId, now: UnixTime, client: IpAddr) -> Result<(), Error> {
        for rule in tx.trust_rules_of_app(app_id)? {
            tx.delete_trust_rule(&rule.id)?;
            self.ledger.record(tx, trust_rules::removed(&rule, &Subject::Admin, now, client))?;
        }
        Ok(())
    }

    /// Ends the app's own tokens and deletes its unused launch tokens, whose number it returns.
    fn revoke_app_tokens(
        &self,
        tx: &mut Tx<'_>,
        app_id: &AppId,
        now: UnixTime,
        reason: &'static str,
    ) -> Result<u64, Error> {
        let subject = Subject::App(app_id.clone());
        let launch_tokens = tx.delete_unused_launch_tokens_by(&subject)?;
        let target = subject.to_string();
        let ended = tx.end_tokens_of(Level::Agent, &target, now, self.ledger.deletable_until())?;
        let revocation = Revocation {
            level: Level::Agent,
            target,
            revoked_at: now,
            // No token of the app is valid for longer than the longest `token_ttl` that an app can have.
            expires_at: now.saturating_add(Duration::from_secs(MAX_TOKEN_TTL)),
            revoked_by: Subject::Admin,
            reason: Some(reason.into()),
            listed: true,
        };
        for single in revocation.of_those_ahead(&ended.ahead) {
            self.feed.publish(tx, single)?;
        }
        self.feed.publish(tx, revocation)?;
        Ok(launch_tokens)
    }
}

/// Returns the initials of a name: `cs` of `customer-support`.
fn initials(name: &AppName) -> String {
    name.as_str().split('-').filter_map(|word| word.chars().next()).collect()
}

/// Returns whether a text has the form of a `client_id`. Any other may be a secret in the wrong member and is not recorded.
pub(crate) fn is_client_id(text: &str) -> bool {
    let is_lower_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.split_once('-').is_some_and(|(initials, random)| {
        matches!(initials.len(), 1..=32)
            && initials.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && random.len() == 12
            && random.bytes().all(is_lower_hex)
    })
}

fn by_operator(event_type: EventType, now: UnixTime, client: IpAddr, detail: &str, app_id: &AppId) -> NewEvent {
    NewEvent::success(event_type, now, &Subject::Admin, detail).resource(app_id).from(client)
}
