//! The kinds of event.

use serde::{Deserialize, Deserializer, Serialize, de};

use agentwrit_json::CowStr;

macro_rules! event_types {
    ($($(#[$doc:meta])+ $variant:ident = $code:literal, $name:literal;)+) => {
        /// Type of an audit event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[non_exhaustive]
        pub enum EventType {
            $($(#[$doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl EventType {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name on the wire, such as `agent_registered`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Parses the name of a type.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// A number for compact storage; it never changes its meaning.
            #[must_use]
            pub fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The type of that number.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

impl<'de> Deserialize<'de> for EventType {
    /// Accepts the name only: a derived `Deserialize` accepts `{"admin_auth": null}` too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let CowStr(text) = CowStr::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("there is no such type of event"))
    }
}

event_types! {
    /// The operator authenticated.
    AdminAuth = 1, "admin_auth";
    /// Authentication as the operator failed.
    AdminAuthFailed = 2, "admin_auth_failed";
    /// A launch token was issued.
    LaunchTokenIssued = 3, "launch_token_issued";
    /// A launch token was denied for another reason than the app's ceiling.
    LaunchTokenDenied = 4, "launch_token_denied";
    /// An agent registered.
    AgentRegistered = 5, "agent_registered";
    /// A registration requested more than its launch token allows.
    RegistrationPolicyViolation = 6, "registration_policy_violation";
    /// A token left the broker.
    TokenIssued = 7, "token_issued";
    /// A token, agent, task or chain was revoked.
    TokenRevoked = 8, "token_revoked";
    /// A token was exchanged for a fresh one.
    TokenRenewed = 9, "token_renewed";
    /// A token was given up by its holder.
    TokenReleased = 10, "token_released";
    /// A renewal was denied.
    TokenRenewalFailed = 11, "token_renewal_failed";
    /// An agent delegated to another.
    DelegationCreated = 12, "delegation_created";
    /// A delegation requested more than its delegator holds.
    DelegationAttenuationViolation = 13, "delegation_attenuation_violation";
    /// A resource server reported an access.
    ResourceAccessed = 14, "resource_accessed";
    /// A Bearer token failed verification.
    TokenAuthFailed = 15, "token_auth_failed";
    /// A revoked token was used.
    TokenRevokedAccess = 16, "token_revoked_access";
    /// A valid token lacked the scope that an endpoint needs.
    ScopeViolation = 17, "scope_violation";
    /// A launch token requested more than the app's ceiling.
    ScopeCeilingExceeded = 18, "scope_ceiling_exceeded";
    /// An app's ceiling changed.
    ScopesCeilingUpdated = 19, "scopes_ceiling_updated";
    /// An app was registered.
    AppRegistered = 20, "app_registered";
    /// An app authenticated.
    AppAuthenticated = 21, "app_authenticated";
    /// An app failed to authenticate.
    AppAuthFailed = 22, "app_auth_failed";
    /// An app was changed.
    AppUpdated = 23, "app_updated";
    /// An app was deregistered.
    AppDeregistered = 24, "app_deregistered";
    /// An app exceeded its rate limit.
    AppRateLimited = 25, "app_rate_limited";
    /// An app was suspended.
    AppSuspended = 26, "app_suspended";
    /// A suspended app was resumed.
    AppResumed = 27, "app_resumed";
    /// The operator accepted a break of the audit trail.
    AuditBreakAccepted = 28, "audit_break_accepted";
    /// The database lost commits that a broker saw: everything issued until then was revoked.
    HistoryLost = 29, "history_lost";
    /// A signing key was made and published, and does not sign yet.
    KeyPrepared = 30, "key_prepared";
    /// A signing key began to sign.
    KeyActivated = 31, "key_activated";
    /// A signing key whose tokens have expired left the key set.
    KeyRetired = 32, "key_retired";
    /// A signing key left the key set, and its tokens are rejected.
    KeyWithdrawn = 33, "key_withdrawn";
    /// A verifier was enrolled.
    VerifierEnrolled = 34, "verifier_enrolled";
    /// A verifier was removed.
    VerifierRemoved = 35, "verifier_removed";
    /// A change was confirmed: no enrolled verifier accepts what was revoked.
    RevocationConfirmed = 36, "revocation_confirmed";
    /// A report was denied that no enrolled verifier signed.
    VerifierReportDenied = 37, "verifier_report_denied";
    /// The key or bound of a verifier was changed.
    VerifierUpdated = 38, "verifier_updated";
    /// The operator confirmed that processes of a verifier have ended.
    VerifierInstanceForgotten = 39, "verifier_instance_forgotten";
    /// A trust rule was added.
    TrustRuleAdded = 40, "trust_rule_added";
    /// A trust rule was removed.
    TrustRuleRemoved = 41, "trust_rule_removed";
    /// An assertion of another issuer was denied.
    AttestationFailed = 42, "attestation_failed";
    /// An app got a new secret.
    AppSecretRotated = 43, "app_secret_rotated";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_round_trip() {
        assert_eq!(EventType::ALL.len(), 43);
        for &event_type in EventType::ALL {
            assert_eq!(EventType::parse(event_type.as_str()), Some(event_type));
            assert_eq!(EventType::from_code(event_type.code()), Some(event_type));
            assert_eq!(serde_json::to_value(event_type).unwrap(), event_type.as_str());
        }
        assert_eq!(EventType::parse("Admin_Auth"), None);
        assert_eq!(EventType::from_code(0), None);
    }
}
