//! The decision: request head in, [`Verified`] claims or a [`Rejection`] out.

use agentwrit_verify::Verifiers;
use http::request::Parts;

use crate::granted_identifiers::GrantedIdentifiers;
use crate::observe;
use crate::path::PathPattern;
use crate::rejection::{CredentialsError, Misconfiguration, Rejection};
use crate::rejection_options::RejectionOptions;
use crate::requirement::{RequiredScopes, Requirement};
use crate::token_source::TokenSources;
use crate::verified::{Unauthenticated, Verified};

/// What a request must show to pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessPolicy {
    /// Who judges the token; `None`: a layer outside has judged it.
    pub(crate) verifier: Option<Verifiers>,
    /// Where this one looks for it.
    pub(crate) sources: TokenSources,
    /// Whether a request without a token passes, without claims.
    pub(crate) optional: bool,
    /// What the token must grant; `None`: a valid one is enough.
    pub(crate) requirement: Option<Requirement>,
    /// What the path must look like, its parameters filling the requirement's gaps; `None`: those that axum found do.
    pub(crate) path: Option<PathPattern>,
    /// How a rejection is presented; what is not set here is as the layer that verified has it.
    pub(crate) rejection_options: RejectionOptions,
    /// Whether the response's extensions get the claims too.
    pub(crate) claims_in_responses: bool,
}

impl AccessPolicy {
    /// Lets the request pass, with what was found out about it in its extensions, or says why it goes no further.
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

    /// Whose request this is; `None` when it may come without a token and does.
    fn authenticate(&self, head: &mut Parts) -> Result<Option<Verified>, Rejection> {
        let Some(verifiers) = &self.verifier else { return self.authenticated_outside(head) };
        // First of all: whoever renders a rejection is shown the headers, and may print them.
        self.sources.mark_sensitive(&mut head.headers);
        let rejection_options = self.rejection_options(head);
        let token = match self.sources.token(head) {
            Err(Rejection::NoToken(CredentialsError::Missing)) if self.optional => {
                // What an outer layer believes is not what this one was asked.
                head.extensions.remove::<Verified>();
                head.extensions.remove::<GrantedIdentifiers>();
                head.extensions.insert(Unauthenticated { rejection_options });
                return Ok(None);
            }
            found => found?,
        };
        let verified = Verified::new(verifiers.verify_token(&token)?, rejection_options);
        drop(token);
        let before = head.extensions.insert(verified.clone());
        if before.is_some_and(|before| before != verified) {
            // It was another token's: nobody is to read it together with these claims.
            head.extensions.remove::<GrantedIdentifiers>();
        }
        Ok(Some(verified))
    }

    /// What a layer outside has found out.
    fn authenticated_outside(&self, head: &mut Parts) -> Result<Option<Verified>, Rejection> {
        if let Some(verified) = head.extensions.get_mut::<Verified>() {
            if !self.rejection_options.is_default() {
                verified.set_rejection_options(self.rejection_options.within(verified.rejection_options()));
            }
            return Ok(Some(verified.clone()));
        }
        if head.extensions.get::<Unauthenticated>().is_some() {
            Ok(None)
        } else {
            Err(Misconfiguration::NoVerifier.into())
        }
    }

    /// Whether it may do what it asks.
    fn authorize(&self, requirement: &Requirement, verified: &Verified, head: &mut Parts) -> Result<(), Rejection> {
        if let Some(pattern) = &self.path {
            pattern.admit(head.uri.path())?;
        }
        let wanted = requirement.wanted(self.path.as_ref(), head)?;
        wanted.judge(verified.scopes()).map_err(|missing| Rejection::InsufficientScope {
            required: wanted.challenge(),
            missing,
            verified: verified.clone(),
        })?;
        observe::granted(verified, &wanted);
        let granted = match &*wanted {
            RequiredScopes::SomeOfKind(kind) => Some(GrantedIdentifiers::from_scopes(verified.scopes(), kind)),
            RequiredScopes::All(_) | RequiredScopes::Any(_) => None,
        };
        drop(wanted);
        granted.map(|granted| head.extensions.insert(granted));
        Ok(())
    }

    /// How a rejection is presented: as this layer was told, else as the one that authenticated was.
    pub(crate) fn rejection_options(&self, head: &Parts) -> RejectionOptions {
        match outer_rejection_options(head) {
            Some(outer) => self.rejection_options.within(outer),
            None => self.rejection_options.clone(),
        }
    }
}

/// How the layers outside present rejections.
pub(crate) fn outer_rejection_options(head: &Parts) -> Option<&RejectionOptions> {
    let verified = head.extensions.get::<Verified>().map(Verified::rejection_options);
    verified.or_else(|| head.extensions.get::<Unauthenticated>().map(|anonymous| &anonymous.rejection_options))
}
