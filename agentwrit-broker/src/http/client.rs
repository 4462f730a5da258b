//! Origin of a request: the address that it counts as coming from, and the app that calls.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use agentwrit_tower::Verified;
use agentwrit_verify::{AppId, Subject};
use axum::extract::FromRequestParts;
use http::{
    Request,
    header::{HeaderName, HeaderValue},
    request::Parts,
};
use ipnet::IpNet;

use super::{client_address::client_address, errors::HttpError};
use crate::service::Error;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Address of the other end of the connection; the server puts it into the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

/// Address that a request counts as coming from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

impl Client {
    /// Returns the peer, or the client that a trusted proxy reports.
    pub(super) fn of<B>(request: &Request<B>, trusted: &[IpNet]) -> Self {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer = request.extensions().get::<PeerAddress>().map_or(unknown, |peer| peer.0.ip());
        let forwarded: Vec<&[u8]> =
            request.headers().get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
        Self(client_address(peer, forwarded.into_iter(), trusted))
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // `request::serve` wraps every route and inserts it.
        Ok(parts.extensions.get().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

/// App whose token authenticates the request.
#[derive(Clone, Debug)]
pub(super) struct CallingApp(pub(super) AppId);

impl<S: Send + Sync> FromRequestParts<S> for CallingApp {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let verified = Verified::from_request_parts(parts, state).await.map_err(|rejection| HttpError::Defect {
            cause: format!("a route of apps has no scope layer: {rejection}"),
        })?;
        match verified.subject() {
            Subject::App(app_id) => Ok(Self(app_id.clone())),
            Subject::Agent(_) | Subject::Admin => Err(Error::WrongSubject("only an app may do this").into()),
        }
    }
}
