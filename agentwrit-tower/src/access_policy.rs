//! The access decision: request head in, [`Verified`] claims or a [`Rejection`] out.

use agentwrit_verify::proof::{PresentedToken, ProofVerifier, Scheme};
use agentwrit_verify::{VerifiedToken, Verifiers};
use http::request::Parts;
use http::{HeaderName, HeaderValue};

use crate::at_least;
use crate::error_response::path;
use crate::granted_identifiers::GrantedIdentifiers;
use crate::observe;
use crate::path::PathPattern;
use crate::rejection::{CredentialsError, Misconfiguration, Rejection};
use crate::rejection_options::RejectionOptions;
use crate::requirement::{RequiredScopes, Requirement};
use crate::token_source::TokenSources;
use crate::verified::{Unauthenticated, Verified};

/// Header of a proof, RFC 9449 §4.1.
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The conditions under which a request reaches the inner service.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessPolicy {
    /// Verifies the token; `None`: an outer layer has verified it.
    pub(crate) verifier: Option<Verifiers>,
    /// Judges the proofs of sender-constrained tokens; `None`: no such token is accepted.
    pub(crate) proofs: Option<ProofVerifier>,
    /// The places in a request that `verifier` takes the token from.
    pub(crate) sources: TokenSources,
    /// Passes a request without a token, without claims.
    pub(crate) optional: bool,
    /// The scopes that the token must grant; `None`: a valid token is enough.
    pub(crate) requirement: Option<Requirement>,
    /// The pattern of the path, whose parameters fill the requirement's templates; `None`: axum's parameters do.
    pub(crate) path: Option<PathPattern>,
    /// Rendering of rejections; the verifying layer's options apply to what is not set here.
    pub(crate) rejection_options: RejectionOptions,
    /// Inserts the claims into the response's extensions too.
    pub(crate) claims_in_responses: bool,
}

impl AccessPolicy {
    /// Accepts the request, with its claims in its extensions, or returns the reason for its rejection.
    pub(crate) fn decide(&self, head: &mut Parts) -> Result<Option<Verified>, Rejection> {
        let verified = self.authenticate(head)?;
        match (&self.requirement, verified) {
            (Some(requirement), verified) => {
                let verified = verified.ok_or(CredentialsError::Missing)?;
                self.authorize(requirement, &verified, head)?;
                Ok(Some(verified))
            }
            (None, verified) => {
                observe::authenticated(verified.as_ref());
                Ok(verified)
            }
        }
    }

    /// Verifies the token; `None` when the request has none and may have none.
    fn authenticate(&self, head: &mut Parts) -> Result<Option<Verified>, Rejection> {
        let Some(verifiers) = &self.verifier else { return self.claims_of_outer_layer(head) };
        // First of all: `on_rejection` closures receive the headers, and may print them.
        self.sources.mark_sensitive(&mut head.headers);
        let rejection_options = self.rejection_options(head);
        let (scheme, token) = match self.sources.token(head) {
            Err(Rejection::NoToken(CredentialsError::Missing)) if self.optional => {
                // The claims of an outer layer are not those that this verifier accepted.
                head.extensions.remove::<Verified>();
                head.extensions.remove::<GrantedIdentifiers>();
                head.extensions.insert(Unauthenticated);
                pass_rejection_options(rejection_options, head);
                return Ok(None);
            }
            found => found?,
        };
        let verified = Verified::new(self.verify(verifiers, scheme, &token, head)?);
        // Only clients with a valid token learn which cursor is reached.
        at_least::check(verifiers, &head.headers)?;
        drop(token);
        pass_rejection_options(rejection_options, head);
        let previous = head.extensions.insert(verified.clone());
        if previous.is_some_and(|previous| previous != verified) {
            // Left by a layer that verified another token: not to be read together with these claims.
            head.extensions.remove::<GrantedIdentifiers>();
        }
        Ok(Some(verified))
    }

    /// Verifies the token, and the proof of its sender if it is sender-constrained.
    fn verify(
        &self,
        verifiers: &Verifiers,
        scheme: Scheme,
        token: &str,
        head: &Parts,
    ) -> Result<VerifiedToken, Rejection> {
        match (&self.proofs, scheme) {
            (Some(proofs), scheme) => {
                let headers = head.headers.get_all(DPOP).iter().map(HeaderValue::as_bytes);
                let presented = PresentedToken::new(scheme, token, head.method.as_str(), path(head)).proofs(headers);
                Ok(verifiers.verify_presented_token(&presented, proofs)?)
            }
            (None, Scheme::Bearer) => Ok(verifiers.verify_token(token)?),
            (None, Scheme::Dpop) => Err(CredentialsError::Malformed.into()),
        }
    }

    /// Accepts sender-constrained tokens (RFC 9449) with proofs that `proofs` accepts.
    pub(crate) fn set_proofs(&mut self, proofs: ProofVerifier) {
        self.proofs = Some(proofs);
        self.rejection_options.dpop = true;
    }

    /// Takes the claims that an outer layer left in the request's extensions.
    fn claims_of_outer_layer(&self, head: &mut Parts) -> Result<Option<Verified>, Rejection> {
        if let Some(verified) = head.extensions.get::<Verified>().cloned() {
            if !self.rejection_options.is_default() {
                pass_rejection_options(self.rejection_options(head), head);
            }
            return Ok(Some(verified));
        }
        if head.extensions.get::<Unauthenticated>().is_some() {
            Ok(None)
        } else {
            Err(Misconfiguration::NoVerifier.into())
        }
    }

    /// Checks the path and the token's scopes.
    fn authorize(&self, requirement: &Requirement, verified: &Verified, head: &mut Parts) -> Result<(), Rejection> {
        if let Some(pattern) = &self.path {
            pattern.check_path(head.uri.path())?;
        }
        let required = requirement.required_scopes(self.path.as_ref(), head)?;
        required.check(verified.scopes()).map_err(|missing| Rejection::InsufficientScope {
            required: required.challenge(),
            missing,
            verified: verified.clone(),
        })?;
        observe::granted(verified, &required);
        let granted = match &*required {
            RequiredScopes::SomeOfKind(kind) => Some(GrantedIdentifiers::from_scopes(verified.scopes(), kind)),
            RequiredScopes::All(_) | RequiredScopes::Any(_) => None,
        };
        drop(required);
        granted.map(|granted| head.extensions.insert(granted));
        Ok(())
    }

    /// Options for rendering a rejection: this layer's, completed by those of the layer that verified.
    pub(crate) fn rejection_options(&self, head: &Parts) -> RejectionOptions {
        match outer_rejection_options(head) {
            Some(outer) => self.rejection_options.within(outer),
            None => self.rejection_options.clone(),
        }
    }
}

/// Passes the rejection options of this layer and the outer ones to the inner layers, in the request's extensions.
fn pass_rejection_options(options: RejectionOptions, head: &mut Parts) {
    if !options.is_default() {
        head.extensions.insert(options);
    }
}

/// Rejection options of the outer layers.
pub(crate) fn outer_rejection_options(head: &Parts) -> Option<&RejectionOptions> {
    head.extensions.get()
}
