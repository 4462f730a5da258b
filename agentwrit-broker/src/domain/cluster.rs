//! Settings on which the brokers of one database must agree.

/// Settings of one broker, or those recorded in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// `AA_ISSUER`
    pub issuer: String,
    /// `AA_TRUST_DOMAIN`
    pub trust_domain: String,
    /// `AA_AUDIENCE`
    pub audience: Option<String>,
    /// `AA_MAX_TTL`
    pub max_ttl: Option<u64>,
    /// Digest of `AA_ADMIN_SECRET` under a key that the database does not hold.
    pub admin_secret: [u8; 32],
    /// `AA_SENDER_CONSTRAINED`
    pub sender_constrained: String,
    /// `AA_KEY_ROTATION` in seconds
    pub key_rotation: Option<u64>,
    /// `AA_KEY_PREPARE_FOR` in seconds
    pub key_prepare_for: u64,
}

/// A variable, and its value as text.
type Setting<'f> = (&'static str, &'f dyn Fn(&ClusterSettings) -> String);

/// Setting that differs between a broker and the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The variable.
    pub variable: &'static str,
    /// Value of this broker; None for a secret.
    pub here: Option<String>,
    /// Value in the database; None for a secret.
    pub recorded: Option<String>,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let variable = self.variable;
        match (&self.here, &self.recorded) {
            (Some(here), Some(recorded)) => {
                write!(f, "{variable} is `{here}` here and `{recorded}` for the other brokers of this database")
            }
            _ => write!(f, "{variable} differs from that of the other brokers of this database"),
        }
    }
}

impl ClusterSettings {
    /// Returns the settings in which tokens of one broker would be rejected by another.
    #[must_use]
    pub fn conflicts_with(&self, recorded: &Self) -> Vec<Disagreement> {
        let audience = |settings: &Self| settings.audience.clone().unwrap_or_default();
        let pairs = [
            ("AA_ISSUER", self.issuer.clone(), recorded.issuer.clone()),
            ("AA_TRUST_DOMAIN", self.trust_domain.clone(), recorded.trust_domain.clone()),
            ("AA_AUDIENCE", audience(self), audience(recorded)),
        ];
        let different = pairs.into_iter().filter(|(_, here, recorded)| here != recorded);
        different
            .map(|(variable, here, recorded)| Disagreement { variable, here: Some(here), recorded: Some(recorded) })
            .collect()
    }

    /// Returns the settings that should be the same and may differ while brokers are restarted one after another.
    #[must_use]
    pub fn deviates_from(&self, recorded: &Self) -> Vec<Disagreement> {
        let of_both: [Setting<'_>; 4] = [
            ("AA_MAX_TTL", &|settings| settings.max_ttl.unwrap_or_default().to_string()),
            ("AA_SENDER_CONSTRAINED", &|settings| settings.sender_constrained.clone()),
            ("AA_KEY_ROTATION", &|settings| settings.key_rotation.map_or_else(|| "off".to_owned(), |s| s.to_string())),
            ("AA_KEY_PREPARE_FOR", &|settings| settings.key_prepare_for.to_string()),
        ];
        let values = of_both.into_iter().map(|(variable, value)| (variable, value(self), value(recorded)));
        let mut deviations: Vec<Disagreement> = values
            .filter(|(_, here, recorded)| here != recorded)
            .map(|(variable, here, recorded)| Disagreement { variable, here: Some(here), recorded: Some(recorded) })
            .collect();
        if self.admin_secret != recorded.admin_secret {
            deviations.push(Disagreement { variable: "AA_ADMIN_SECRET", here: None, recorded: None });
        }
        deviations
    }
}
