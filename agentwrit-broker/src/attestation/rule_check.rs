//! Checks of a new trust rule that need what attestation knows: addresses, key sets, and the API server of the settings.

use agentwrit_protocol::AttestationKind;

use super::{
    Attestor,
    address::KeySetUrl,
    jwk::{JwkSet, Purpose},
};
use crate::domain::{RuleKeys, TrustRule, TrustRuleError};

impl Attestor {
    /// Checks that a rule can permit anything: a rule that cannot shows in none but refused registrations.
    pub(crate) fn check_rule(&self, rule: &TrustRule) -> Result<(), TrustRuleError> {
        if rule.kind == AttestationKind::Oidc {
            check_issuer(&rule.issuer)?;
        }
        match &rule.keys {
            RuleKeys::Url(url) => {
                KeySetUrl::parse(url).map_err(|error| fault("jwks_url", error.to_string()))?;
            }
            RuleKeys::Set(text) => check_set(text.as_str().as_bytes(), rule.kind)?,
        }
        if rule.token_review && self.kubernetes.is_none() {
            return Err(fault("token_review", "needs AA_KUBERNETES_API_URL, which this broker does not have"));
        }
        Ok(())
    }
}

/// Checks the form of an `OpenID` provider's issuer (`OpenID` Connect Discovery 1.0 §3).
fn check_issuer(issuer: &str) -> Result<(), TrustRuleError> {
    let is_url = issuer.starts_with("http") && KeySetUrl::parse(issuer).is_ok() && !issuer.contains('?');
    let problem = "must be an `https` URL without user, query and fragment for the kind `oidc`, as `iss` of the tokens";
    if is_url { Ok(()) } else { Err(fault("issuer", problem)) }
}

fn check_set(text: &[u8], kind: AttestationKind) -> Result<(), TrustRuleError> {
    let set = JwkSet::parse(text).map_err(|error| fault("jwks", error.to_string()))?;
    if set.has_key_for(Purpose::of(kind)) {
        return Ok(());
    }
    let usage = match kind {
        AttestationKind::Oidc | AttestationKind::Kubernetes => "`use` absent or `sig`",
        AttestationKind::Spiffe => "`use` of `jwt-svid`",
    };
    let problem = format!(
        "has no usable key: RSA of 2048 to 4096 bits for RS256, P-256 for ES256, or Ed25519 for EdDSA, with {usage}, and with \
         `key_ops` absent or `verify`"
    );
    Err(fault("jwks", problem))
}

fn fault(member: &'static str, problem: impl Into<String>) -> TrustRuleError {
    TrustRuleError { member, problem: problem.into() }
}
