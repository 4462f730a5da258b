//! Tokens and proofs as a request presents them.

use std::fmt;

use super::{AcceptedProof, ExternalUrl, ProofError};
use crate::thumbprint::Thumbprint;

/// Authentication scheme of a request (RFC 6750 §2.1, RFC 9449 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a caller that lists the schemes in a challenge must list each")]
pub enum Scheme {
    /// `Bearer`.
    Bearer,
    /// `DPoP`.
    Dpop,
}

impl Scheme {
    /// Reads the name of a scheme, without regard to case (RFC 9110 §11.1).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Bearer, Self::Dpop].into_iter().find(|scheme| scheme.as_str().eq_ignore_ascii_case(name))
    }

    /// Returns the name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token as a request presents it. Its `Debug` shows neither the token nor the proof.
#[derive(Clone)]
pub struct PresentedToken<'a> {
    pub(crate) scheme: Scheme,
    pub(crate) token: &'a str,
    pub(crate) proof: PresentedProof<'a>,
    pub(crate) client_key: Option<Thumbprint>,
    pub(crate) accepted: Option<&'a AcceptedProof>,
}

impl<'a> PresentedToken<'a> {
    /// Takes the scheme and the token of the `Authorization` header, and the request's method and path: see
    /// [`PresentedProof::new`].
    #[must_use]
    pub fn new(scheme: Scheme, token: &'a str, method: &'a str, path: &'a str) -> Self {
        Self { scheme, token, proof: PresentedProof::new(method, path), client_key: None, accepted: None }
    }

    /// Sets the value of the one `DPoP` header.
    #[must_use]
    pub fn proof(mut self, proof: &'a str) -> Self {
        self.proof = self.proof.proof(proof);
        self
    }

    /// Sets the values of every `DPoP` header of the request: several are an error (§4.3, check 1).
    #[must_use]
    pub fn proofs(mut self, headers: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.proof = self.proof.proofs(headers);
        self
    }

    /// Names the external URL by which a trusted proxy received the request. Where external URLs are configured it adds a
    /// prefix to the path at most: with another scheme, host or port than theirs, or without a path, it is ignored. Without
    /// configured ones the caller must have compared its host with those of the service.
    #[must_use]
    pub fn received_at(mut self, url: &'a ExternalUrl) -> Self {
        self.proof = self.proof.received_at(url);
        self
    }

    /// Names the key that the client proved in the handshake of the TLS connection which ends here: with it, a token
    /// that is bound to this key needs no proof. The scheme is `DPoP` all the same.
    #[must_use]
    pub fn client_key(mut self, key: Thumbprint) -> Self {
        self.client_key = Some(key);
        self
    }
}

impl fmt::Debug for PresentedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedToken")
            .field("scheme", &self.scheme)
            .field("proof", &self.proof)
            .field("client_key", &self.client_key)
            .finish_non_exhaustive()
    }
}

/// A proof as a request presents it. Its `Debug` doesn't show the proof.
#[derive(Clone)]
pub struct PresentedProof<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) received_at: Option<&'a ExternalUrl>,
    header: Header<'a>,
}

#[derive(Clone, Copy)]
enum Header<'a> {
    Missing,
    One(&'a [u8]),
    Several,
}

impl<'a> PresentedProof<'a> {
    /// Takes the request's method and the path of its target as this service received it, before any router strips a
    /// prefix. A query is ignored.
    #[must_use]
    pub fn new(method: &'a str, path: &'a str) -> Self {
        Self { method, path, received_at: None, header: Header::Missing }
    }

    /// Sets the value of the one `DPoP` header.
    #[must_use]
    pub fn proof(mut self, proof: &'a str) -> Self {
        self.header = Header::One(proof.as_bytes());
        self
    }

    /// Sets the values of every `DPoP` header of the request: several are an error (§4.3, check 1).
    #[must_use]
    pub fn proofs(mut self, headers: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut headers = headers.into_iter();
        self.header = match (headers.next(), headers.next()) {
            (None, _) => Header::Missing,
            (Some(only), None) => Header::One(only),
            (Some(_), Some(_)) => Header::Several,
        };
        self
    }

    /// Names the external URL by which a trusted proxy received the request. Where external URLs are configured it adds a
    /// prefix to the path at most: with another scheme, host or port than theirs, or without a path, it is ignored. Without
    /// configured ones the caller must have compared its host with those of the service.
    #[must_use]
    pub fn received_at(mut self, url: &'a ExternalUrl) -> Self {
        self.received_at = Some(url);
        self
    }

    /// Returns the one proof.
    pub(crate) fn text(&self) -> Result<&'a str, ProofError> {
        match self.header {
            Header::Missing => Err(ProofError::Missing),
            Header::Several => Err(ProofError::Several),
            Header::One(value) => std::str::from_utf8(value).map_err(|error| ProofError::malformed(&error)),
        }
    }
}

impl fmt::Debug for PresentedProof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedProof")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}
