//! Where a request comes from.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use axum::extract::FromRequestParts;
use http::{
    Request,
    header::{HeaderName, HeaderValue},
    request::Parts,
};
use ipnet::IpNet;

use crate::server::client_address;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of the connection; the server puts it into the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

/// The address that a request counts as coming from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

impl Client {
    /// The peer, or whom a trusted proxy vouches for.
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
        // `request::serve` stands around every route and has put it there.
        Ok(parts.extensions.get().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}
