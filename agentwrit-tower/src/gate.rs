//! The decision: request head in, [`Verified`] claims or a [`Refusal`] out.

use agentwrit_verify::Verifiers;
use http::request::Parts;

use crate::granted::Granted;
use crate::observe;
use crate::path::PathPattern;
use crate::presentation::Presentation;
use crate::refusal::{Misconfiguration, NoToken, Refusal};
use crate::requirement::{Requirement, Wanted};
use crate::token_source::TokenSources;
use crate::verified::{Anonymous, Verified};

/// What a request must show to pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
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
    /// How a refusal is presented; what is not set here is as the layer that verified has it.
    pub(crate) presentation: Presentation,
    /// Whether the response's extensions get the claims too.
    pub(crate) mark_responses: bool,
}

impl Gate {
    /// Lets the request pass, with what was found out about it in its extensions, or says why it goes no further.
    pub(crate) fn admit(&self, head: &mut Parts) -> Result<Option<Verified>, Refusal> {
        let verified = self.authenticate(head)?;
        match (&self.requirement, verified) {
            (Some(requirement), verified) => {
                let verified = verified.ok_or(NoToken::Missing)?;
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
    fn authenticate(&self, head: &mut Parts) -> Result<Option<Verified>, Refusal> {
        let Some(verifiers) = &self.verifier else { return self.authenticated_outside(head) };
        // First of all: whoever renders a refusal is shown the headers, and may print them.
        self.sources.mark_sensitive(&mut head.headers);
        let presentation = self.presentation(head);
        let token = match self.sources.token(head) {
            Err(Refusal::NoToken(NoToken::Missing)) if self.optional => {
                // What an outer layer believes is not what this one was asked.
                head.extensions.remove::<Verified>();
                head.extensions.remove::<Granted>();
                head.extensions.insert(Anonymous { presentation });
                return Ok(None);
            }
            found => found?,
        };
        let verified = Verified::new(verifiers.verify_token(&token)?, presentation);
        drop(token);
        let before = head.extensions.insert(verified.clone());
        if before.is_some_and(|before| before != verified) {
            // It was another token's: nobody is to read it together with these claims.
            head.extensions.remove::<Granted>();
        }
        Ok(Some(verified))
    }

    /// What a layer outside has found out.
    fn authenticated_outside(&self, head: &mut Parts) -> Result<Option<Verified>, Refusal> {
        if let Some(verified) = head.extensions.get_mut::<Verified>() {
            if !self.presentation.is_default() {
                verified.present_as(self.presentation.within(verified.presentation()));
            }
            return Ok(Some(verified.clone()));
        }
        if head.extensions.get::<Anonymous>().is_some() { Ok(None) } else { Err(Misconfiguration::NoVerifier.into()) }
    }

    /// Whether it may do what it asks.
    fn authorize(&self, requirement: &Requirement, verified: &Verified, head: &mut Parts) -> Result<(), Refusal> {
        if let Some(pattern) = &self.path {
            pattern.admit(head.uri.path())?;
        }
        let wanted = requirement.wanted(self.path.as_ref(), head)?;
        wanted.judge(verified.scopes()).map_err(|missing| Refusal::InsufficientScope {
            required: wanted.challenge(),
            missing,
            verified: verified.clone(),
        })?;
        observe::granted(verified, &wanted);
        let granted = match &*wanted {
            Wanted::SomeOfKind(kind) => Some(Granted::by(verified.scopes(), kind)),
            Wanted::All(_) | Wanted::Any(_) => None,
        };
        drop(wanted);
        granted.map(|granted| head.extensions.insert(granted));
        Ok(())
    }

    /// How a refusal is presented: as this layer was told, else as the one that authenticated was.
    pub(crate) fn presentation(&self, head: &Parts) -> Presentation {
        match presentation_outside(head) {
            Some(outer) => self.presentation.within(outer),
            None => self.presentation.clone(),
        }
    }
}

/// How the layers outside present refusals.
pub(crate) fn presentation_outside(head: &Parts) -> Option<&Presentation> {
    let verified = head.extensions.get::<Verified>().map(Verified::presentation);
    verified.or_else(|| head.extensions.get::<Anonymous>().map(|anonymous| &anonymous.presentation))
}
