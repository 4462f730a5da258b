//! Names of the variables, and suggestions for misspelt ones.

pub(super) const ADMIN_SECRET: &str = "AA_ADMIN_SECRET";
pub(super) const CONFIG_PATH: &str = "AA_CONFIG_PATH";
pub(super) const DATABASE_URL: &str = "AA_DATABASE_URL";
pub(super) const KEY_ENCRYPTION_KEY_PATH: &str = "AA_KEY_ENCRYPTION_KEY_PATH";
pub(super) const TLS_MODE: &str = "AA_TLS_MODE";
/// Key of the config file only.
pub(super) const MODE: &str = "MODE";

/// Number of letters in which a misspelt name may differ.
const MAX_DISTANCE: usize = 2;

/// Every variable of the environment, each of which is also a flag.
pub(super) const ALL: [&str; 37] = [
    "AA_ACCEPT_BROKEN_AUDIT",
    ADMIN_SECRET,
    "AA_ADMIN_TOKEN_TTL",
    "AA_APP_TOKEN_TTL",
    "AA_ATTESTATION_PRIVATE_HOSTS",
    "AA_AUDIENCE",
    "AA_BIND_ADDRESS",
    CONFIG_PATH,
    "AA_CONSOLE",
    DATABASE_URL,
    "AA_DB_PATH",
    "AA_DEFAULT_TTL",
    "AA_EXTERNAL_URL",
    "AA_ISSUER",
    KEY_ENCRYPTION_KEY_PATH,
    "AA_KEY_PREPARE_FOR",
    "AA_KEY_ROTATION",
    "AA_KUBERNETES_API_URL",
    "AA_KUBERNETES_CA_PATH",
    "AA_KUBERNETES_TOKEN_PATH",
    "AA_KUBERNETES_WATCH",
    "AA_LOG_FORMAT",
    "AA_LOG_LEVEL",
    "AA_MAX_TTL",
    "AA_ON_LOST_HISTORY",
    "AA_PORT",
    "AA_SEED_TOKENS",
    "AA_SENDER_CONSTRAINED",
    "AA_SESSION_BUDGET",
    "AA_SIGNING_KEY_PATH",
    "AA_STATE_PATH",
    "AA_TLS_CERT",
    "AA_TLS_CLIENT_CA",
    "AA_TLS_KEY",
    TLS_MODE,
    "AA_TRUST_DOMAIN",
    "AA_TRUSTED_PROXIES",
];

/// Returns the variable that a key of the config file sets. Two variables have a short name beside their own.
pub(super) fn of_key(key: &str) -> Option<&'static str> {
    match key {
        "MODE" => Some(MODE),
        "ADMIN_SECRET" => Some(ADMIN_SECRET),
        CONFIG_PATH => None,
        _ => of_variable(key),
    }
}

/// Returns the variable of that name.
pub(super) fn of_variable(name: &str) -> Option<&'static str> {
    ALL.into_iter().find(|known| *known == name)
}

/// Returns the most similar variable for a name with at most two letters wrong, missing or added, and the first one right.
pub(super) fn suggestion(name: &str) -> Option<&'static str> {
    let first = |name: &str| name.strip_prefix("AA_").and_then(|rest| rest.chars().next());
    ALL.into_iter()
        .filter(|known| first(known) == first(&name.to_ascii_uppercase()))
        // A name of the environment may have any length.
        .filter(|known| known.len().abs_diff(name.len()) <= MAX_DISTANCE)
        .map(|known| (strsim::levenshtein(known, &name.to_ascii_uppercase()), known))
        .filter(|(distance, _)| *distance <= MAX_DISTANCE)
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_variable_for_misspelt_name() {
        for (name, expected) in [
            ("AA_TLS_MOD", Some(TLS_MODE)),
            ("AA_TSL_MODE", Some(TLS_MODE)),
            ("AA_TLSMODE", Some(TLS_MODE)),
            ("AA_TLS_MODES", Some(TLS_MODE)),
            ("aa_tls_mode", Some(TLS_MODE)),
            ("AA_TRUSTED_PROXY", None),
            ("AA_ADMIN_SECRETS", Some(ADMIN_SECRET)),
            ("AA_HOST", None),
            ("AA_NONCE_TTL", None),
            ("AA_", None),
        ] {
            assert_eq!(suggestion(name), expected, "{name}");
        }
    }
}
