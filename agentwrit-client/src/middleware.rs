//! Middleware that adds the token to the requests of a `reqwest` client.

use std::fmt;

use async_trait::async_trait;
use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

use crate::{
    at_least::AtLeast,
    credentials::{Attempt, ProofStatus},
    request_authorizer::{AuthorizationProvider, Origins, RequestAuthorizer},
};

/// Adds an agent's token to the requests of a [`reqwest_middleware`] client, for the given origins only. Without a
/// valid token a request for one of them is not sent, and the error is a [`ClientError`](crate::ClientError) inside a
/// [`reqwest_middleware::Error`].
///
/// With a bound token each request has a proof (RFC 9449). One that the server rejects for its nonce or its time is signed
/// and sent again, once, unless the body is a stream. Put this inside of a middleware that retries: a proof counts once.
///
/// `reqwest` follows redirects by itself, below this: it keeps the header for the same origin and removes it for any
/// other one, also if that one is given here. A proof is for the URL before the redirect, so a redirected request with a
/// bound token is rejected: give `reqwest` the policy [`reqwest::redirect::Policy::none`].
///
/// ```
/// use agentwrit_client::{AuthorizeMiddleware, ClientError, LiveAgent, Origins};
/// use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
///
/// fn records(agent: &LiveAgent, http: reqwest::Client) -> Result<ClientWithMiddleware, ClientError> {
///     let origins = Origins::new(["https://records.example"])?;
///     Ok(ClientBuilder::new(http).with(AuthorizeMiddleware::new(agent.clone(), origins)).build())
/// }
/// ```
#[derive(Clone)]
pub struct AuthorizeMiddleware {
    authorizer: RequestAuthorizer,
}

impl AuthorizeMiddleware {
    /// Adds the provider's header to requests for `origins`.
    #[must_use]
    pub fn new(source: impl AuthorizationProvider, origins: Origins) -> Self {
        Self { authorizer: RequestAuthorizer::new(source, origins) }
    }

    /// Adds the header `AgentWrit-At-Least` to the requests for the origins.
    #[must_use]
    pub fn at_least(self, at_least: &AtLeast) -> Self {
        Self { authorizer: self.authorizer.at_least(at_least) }
    }
}

impl AuthorizeMiddleware {
    fn authorize(&self, request: &mut Request) -> reqwest_middleware::Result<Attempt> {
        let (method, url) = (request.method().clone(), request.url().clone());
        let target = (url.scheme(), url.host_str().unwrap_or_default(), url.port(), url.path());
        self.authorizer.authorize(request.headers_mut(), &method, target).map_err(Error::middleware)
    }
}

#[async_trait]
impl Middleware for AuthorizeMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let again = request.try_clone();
        let attempt = self.authorize(&mut request)?;
        let response = next.clone().run(request, extensions).await?;
        if attempt.judge(response.status(), response.headers()) != ProofStatus::Outdated {
            return Ok(response);
        }
        // The server processed nothing. A body that is a stream can't be sent again.
        let Some(mut again) = again else { return Ok(response) };
        let attempt = self.authorize(&mut again)?;
        let response = next.run(again, extensions).await?;
        attempt.judge(response.status(), response.headers());
        Ok(response)
    }
}

impl fmt::Debug for AuthorizeMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authorizer.fmt(f)
    }
}
