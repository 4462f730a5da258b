//! The decision: request head in, [`Verified`] claims or a [`Refusal`] out.

use agentwrit_verify::{Scope, Verifiers};
use http::request::Parts;

use crate::bearer;
use crate::refusal::Refusal;
use crate::verified::Verified;

/// What a request must show to pass.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// Who judges the token; `None`: a layer outside has judged it.
    pub(crate) verifier: Option<Verifiers>,
    /// What the token must grant; `None`: a valid one is enough.
    pub(crate) requirement: Option<Requirement>,
}

impl Gate {
    /// Whose request this is, or why it goes no further.
    pub(crate) fn decide(&self, head: &Parts) -> Result<Verified, Refusal> {
        let verified = match &self.verifier {
            Some(verifier) => verify(verifier, head)?,
            None => head.extensions.get::<Verified>().cloned().ok_or(Refusal::MissingLayer)?,
        };
        match &self.requirement {
            Some(requirement) => requirement.check(verified),
            None => Ok(verified),
        }
    }
}

/// What a token must grant.
#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    /// This scope, held itself or through a wildcard.
    Scope(Scope),
}

impl Requirement {
    fn check(&self, verified: Verified) -> Result<Verified, Refusal> {
        match self {
            Self::Scope(scope) if verified.scopes().cover(scope) => Ok(verified),
            Self::Scope(scope) => Err(Refusal::InsufficientScope { required: vec![scope.clone()], verified }),
        }
    }
}

fn verify(verifier: &Verifiers, head: &Parts) -> Result<Verified, Refusal> {
    let token = bearer::token(&head.headers)?;
    Ok(Verified::new(verifier.verify(token)?))
}
