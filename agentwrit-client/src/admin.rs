//! Requests of an operator: apps, their ceilings, and launch tokens without an app.

use std::{sync::Arc, time::Duration};

use agentwrit_protocol::{
    AppCreationRequest, AppCreationResponse, AppDeregistrationResponse, AppListResponse, AppRecord, AppUpdateRequest,
    Secret, SecretRotationRequest, SecretRotationResponse, paths,
};
use agentwrit_verify::{AppId, UnixTime};
use http::StatusCode;

use crate::{
    client::Client,
    error::ClientError,
    launch_token::{LaunchToken, NewLaunchToken, parse_scopes, whole_seconds},
    request::ApiRequest,
    session::{Credentials, Session},
    token_store::TokenStore,
};

/// Operator of a broker. Clones are cheap and share connections and the operator's token.
///
/// ```no_run
/// use agentwrit_client::{Client, NewApp};
///
/// # async fn example(secret: String) -> Result<(), agentwrit_client::ClientError> {
/// let admin = Client::new("https://broker.example")?.admin(secret)?;
/// let app = admin.create_app(&NewApp::new("invoice-desk", ["read:invoices:*"])?).await?;
/// println!("{} may be configured with client id {}", app.record.name, app.record.client_id);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    session: Arc<Session>,
}

impl Client {
    /// Returns the operator of this admin secret. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is empty.
    pub fn admin(&self, secret: impl Into<Secret>) -> Result<Admin, ClientError> {
        let secret = secret.into();
        if secret.expose().is_empty() {
            return Err(ClientError::invalid("admin secret", "empty"));
        }
        let session = Session::new(self.clone(), Credentials::Admin { secret });
        Ok(Admin { session: Arc::new(session) })
    }

    /// Returns the operator of this admin secret, whose token is kept in `store` for the next process. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when the secret is empty.
    pub fn admin_with_store(
        &self,
        secret: impl Into<Secret>,
        store: Arc<dyn TokenStore>,
    ) -> Result<Admin, ClientError> {
        let secret = secret.into();
        if secret.expose().is_empty() {
            return Err(ClientError::invalid("admin secret", "empty"));
        }
        let session = Session::new(self.clone(), Credentials::Admin { secret }).with_store(store);
        Ok(Admin { session: Arc::new(session) })
    }
}

impl Admin {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.session.client()
    }

    /// Registers an app. Only the response holds its client secret: the broker keeps a digest.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `conflict` when an active app has that name; any error of the network. After
    /// [`ClientError::MalformedResponse`] the app may exist, and [`ClientError::received_secret`] is its secret.
    pub async fn create_app(&self, app: &NewApp) -> Result<AppCredentials, ClientError> {
        let request = ApiRequest::post(paths::ADMIN_APPS, &app.0)?.with_secret_member("client_secret");
        let response: AppCreationResponse = self.session.fetch(&request).await?;
        let AppCreationResponse { client_secret, name, scopes, .. } = response;
        let record = AppRecord {
            app_id: response.app_id,
            client_id: response.client_id,
            name: name.unwrap_or_else(|| app.0.name.clone()),
            scopes: scopes.unwrap_or_else(|| app.0.scopes.clone()),
            token_ttl: response.token_ttl,
            sender_constrained: response.sender_constrained,
            status: response.status,
            created_at: response.created_at,
            updated_at: response.updated_at,
            deregistered_at: None,
            former_secret_expires_at: None,
        };
        Ok(AppCredentials { record, client_secret })
    }

    /// Lists every app, inactive ones included.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn apps(&self) -> Result<Vec<AppRecord>, ClientError> {
        let response: AppListResponse =
            self.session.fetch(&ApiRequest::get(paths::ADMIN_APPS).max_response_bytes(MAX_LIST_BYTES)).await?;
        Ok(response.apps)
    }

    /// Returns the app of this id, if there is one.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn app(&self, id: &AppId) -> Result<Option<AppRecord>, ClientError> {
        match self.session.fetch(&ApiRequest::get(paths::admin_app(id))).await {
            Ok(record) => Ok(Some(record)),
            Err(rejected) if rejected.status() == Some(StatusCode::NOT_FOUND.as_u16()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes an app. A narrower ceiling applies at once to every new request of its agents.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is no app of that id or it is deregistered; any error of
    /// the network.
    pub async fn update_app(&self, id: &AppId, update: &AppUpdate) -> Result<AppRecord, ClientError> {
        self.session.fetch(&ApiRequest::put(paths::admin_app(id), &update.0)?).await
    }

    /// Deregisters an app: its tokens and unused launch tokens end at once, its agents when their tokens expire.
    /// Returns the time of deregistration. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is no app of that id; any error of the network.
    pub async fn delete_app(&self, id: &AppId) -> Result<UnixTime, ClientError> {
        let response: AppDeregistrationResponse = self.session.fetch(&ApiRequest::delete(paths::admin_app(id))).await?;
        Ok(response.deregistered_at)
    }

    /// Suspends an app: its tokens and unused launch tokens end at once, and until it is [resumed](Self::resume_app) it
    /// cannot log in, nor can its agents register, renew, or take part in a delegation. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is no app of that id or it is deregistered; any error of
    /// the network.
    pub async fn suspend_app(&self, id: &AppId) -> Result<AppRecord, ClientError> {
        self.session.fetch(&ApiRequest::post_empty(paths::admin_app_suspend(id)).idempotent()).await
    }

    /// Resumes a suspended app. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is no app of that id or it is deregistered; any error of
    /// the network.
    pub async fn resume_app(&self, id: &AppId) -> Result<AppRecord, ClientError> {
        self.session.fetch(&ApiRequest::post_empty(paths::admin_app_resume(id)).idempotent()).await
    }

    /// Gives an app a new secret, which only the response holds. The former one is accepted for `overlap` more, whole
    /// seconds up to 7 days: zero for a secret that has leaked.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is no app of that id or it is deregistered; any error of
    /// the network. After [`ClientError::MalformedResponse`] the secret is rotated, and [`ClientError::received_secret`] is
    /// the new one.
    pub async fn rotate_app_secret(
        &self,
        id: &AppId,
        overlap: Duration,
    ) -> Result<SecretRotationResponse, ClientError> {
        let body = SecretRotationRequest { overlap: Some(overlap.as_secs()) };
        let request = ApiRequest::post(paths::admin_app_rotate_secret(id), &body)?.with_secret_member("client_secret");
        self.session.fetch(&request).await
    }

    /// Issues a launch token that belongs to no app.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn create_launch_token(&self, request: &NewLaunchToken) -> Result<LaunchToken, ClientError> {
        request.send(&self.session, paths::ADMIN_LAUNCH_TOKENS).await
    }
}

/// App to be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct NewApp(AppCreationRequest);

impl NewApp {
    /// Creates an app with a name (lower case words joined by `-`, 2 to 64 characters) and a ceiling for its agents'
    /// scopes.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when a scope is malformed, or there are none or more than 64.
    pub fn new<S: AsRef<str>>(
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ClientError> {
        let (name, scopes) = (name.into(), parse_scopes("scopes", scopes)?);
        Ok(Self(AppCreationRequest { name, scopes, token_ttl: None, sender_constrained: false }))
    }

    /// Lifetime of the app's own tokens: whole seconds, 1 min to 24 h. Default: the broker's setting.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] below one second.
    pub fn token_ttl(mut self, ttl: Duration) -> Result<Self, ClientError> {
        self.0.token_ttl = Some(whole_seconds("token_ttl", ttl)?);
        Ok(self)
    }

    /// Binds the tokens of the app's agents to the key of each agent (RFC 9449). The app's own stay bearer tokens.
    #[must_use]
    pub fn sender_constrained(mut self) -> Self {
        self.0.sender_constrained = true;
        self
    }
}

/// Change of an app. Members that are not set stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppUpdate(AppUpdateRequest);

impl AppUpdate {
    /// Sets a new ceiling.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when a scope is malformed, or there are none or more than 64.
    pub fn scopes<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Result<Self, ClientError> {
        self.0.scopes = Some(parse_scopes("scopes", scopes)?);
        Ok(self)
    }

    /// Sets a new lifetime of the app's own tokens: whole seconds, 1 min to 24 h.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] below one second.
    pub fn token_ttl(mut self, ttl: Duration) -> Result<Self, ClientError> {
        self.0.token_ttl = Some(whole_seconds("token_ttl", ttl)?);
        Ok(self)
    }

    /// Binds the tokens of the app's agents to the key of each agent, for good. Issued tokens stay as they are until they
    /// are renewed.
    #[must_use]
    pub fn sender_constrained(mut self) -> Self {
        self.0.sender_constrained = Some(true);
        self
    }
}

/// New app with its client secret, which no other response contains.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppCredentials {
    /// The app.
    pub record: AppRecord,
    /// The secret with which the app authenticates, beside [`AppRecord::client_id`].
    pub client_secret: Secret,
}

/// Limit for lists without pages: some two thousand apps, each with the maximum of scopes. Parsed, the shortest records
/// take up to six times their length.
pub(crate) const MAX_LIST_BYTES: usize = 32 * 1024 * 1024;
