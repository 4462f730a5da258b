//! The access decision: request head in, [`Verified`] claims or a [`Rejection`] out.

use agentwrit_verify::Verifiers;
use http::request::Parts;

use crate::at_least;
use crate::bearer;
use crate::granted_identifiers::GrantedIdentifiers;
use crate::observe;
use crate::path::PathPattern;
use crate::rejection::{CredentialsError, Misconfiguration, Rejection};
use crate::rejection_options::RejectionOptions;
use crate::requirement::{RequiredScopes, Requirement};
use crate::sender::{ProofSettingsError, SenderPolicy};
use crate::token_source::TokenSources;
use crate::verified::{Unauthenticated, Verified};

/// The conditions under which a request reaches the inner service.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessPolicy {
    /// Verifies the token; `None`: an outer layer has verified it.
    pub(crate) verifier: Option<Verifiers>,
    /// How senders of tokens that are bound to a key prove it.
    pub(crate) senders: SenderPolicy,
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
    pub(crate) fn decide(&self, head: &mut Parts) -> Result<(), Rejection> {
        self.authenticate(head)?;
        match &self.requirement {
            Some(requirement) => self.authorize(requirement, head)?,
            None => observe::authenticated(head.extensions.get()),
        }
        Ok(())
    }

    /// Verifies the token and leaves its claims in the extensions; or none, when the request has no token and may have none.
    fn authenticate(&self, head: &mut Parts) -> Result<(), Rejection> {
        let Some(verifiers) = &self.verifier else { return self.check_outer_claims(head) };
        // First of all: `on_rejection` closures receive the headers, and may print them.
        let requires_cursor = self.sources.mark_sensitive(&mut head.headers);
        let (scheme, token) = match self.sources.token(head) {
            Err(Rejection::NoToken(CredentialsError::Missing)) if self.optional => {
                // The claims of an outer layer are not those that this verifier accepted.
                head.extensions.remove::<Verified>();
                head.extensions.remove::<GrantedIdentifiers>();
                head.extensions.insert(Unauthenticated);
                self.pass_rejection_options(head);
                return Ok(());
            }
            found => found?,
        };
        let verified = self.senders.verify(verifiers, scheme, &token, head);
        let verified = Verified::new(verified.map_err(|rejection| malformed_or(rejection, &token))?);
        // Only clients with a valid token learn which cursor is reached.
        if requires_cursor {
            at_least::check(verifiers, &head.headers)?;
        }
        drop(token);
        self.pass_rejection_options(head);
        let previous = head.extensions.insert(verified);
        if previous.is_some() && previous.as_ref() != head.extensions.get() {
            // Left by a layer that verified another token: not to be read together with these claims.
            head.extensions.remove::<GrantedIdentifiers>();
        }
        Ok(())
    }

    /// Sets the verifiers of tokens.
    pub(crate) fn set_verifier(&mut self, verifiers: Verifiers) {
        self.verifier = Some(verifiers);
        // Every setting was accepted before.
        drop(self.senders.build(self.verifier.as_ref()));
    }

    /// Changes how senders of bound tokens prove their keys.
    pub(crate) fn change_senders(
        &mut self,
        change: impl FnOnce(&mut SenderPolicy) -> Result<(), ProofSettingsError>,
    ) -> Result<(), ProofSettingsError> {
        change(&mut self.senders)?;
        self.senders.build(self.verifier.as_ref())?;
        self.rejection_options.dpop = self.senders.algorithms();
        Ok(())
    }

    /// Checks the claims that an outer layer left in the request's extensions.
    fn check_outer_claims(&self, head: &mut Parts) -> Result<(), Rejection> {
        if let Some(verified) = head.extensions.get::<Verified>() {
            self.senders.check_claims(verified)?;
            self.pass_rejection_options(head);
            return Ok(());
        }
        if head.extensions.get::<Unauthenticated>().is_some() {
            Ok(())
        } else {
            Err(Misconfiguration::NoVerifier.into())
        }
    }

    /// Checks the path and the token's scopes.
    fn authorize(&self, requirement: &Requirement, head: &mut Parts) -> Result<(), Rejection> {
        if head.extensions.get::<Verified>().is_none() {
            return Err(CredentialsError::Missing.into());
        }
        if let Some(pattern) = &self.path {
            pattern.check_path(head.uri.path())?;
        }
        let required = requirement.required_scopes(self.path.as_ref(), head)?;
        let verified = head.extensions.get::<Verified>().ok_or(CredentialsError::Missing)?;
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

    /// Passes the rejection options of this layer to the inner layers, in the request's extensions, where those of the outer
    /// layers are already.
    fn pass_rejection_options(&self, head: &mut Parts) {
        if !self.rejection_options.is_default() {
            let options = self.rejection_options(head);
            head.extensions.insert(options);
        }
    }
}

/// Returns the rejection of a token: that of a malformed header when the header contained no `token68`.
fn malformed_or(rejection: Rejection, token: &str) -> Rejection {
    if bearer::is_token68(token) { rejection } else { CredentialsError::Malformed.into() }
}

/// Rejection options of the outer layers.
pub(crate) fn outer_rejection_options(head: &Parts) -> Option<&RejectionOptions> {
    head.extensions.get()
}
