//! The names of the variables, and what is almost one.

pub(super) const ADMIN_SECRET: &str = "AA_ADMIN_SECRET";
pub(super) const CONFIG_PATH: &str = "AA_CONFIG_PATH";
pub(super) const DATABASE_URL: &str = "AA_DATABASE_URL";
pub(super) const TLS_MODE: &str = "AA_TLS_MODE";
/// Of the config file only.
pub(super) const MODE: &str = "MODE";

/// Every variable of the environment, each of which is also a flag.
pub(super) const ALL: [&str; 24] = [
    "AA_ACCEPT_BROKEN_AUDIT",
    ADMIN_SECRET,
    "AA_ADMIN_TOKEN_TTL",
    "AA_APP_TOKEN_TTL",
    "AA_AUDIENCE",
    "AA_BIND_ADDRESS",
    CONFIG_PATH,
    DATABASE_URL,
    "AA_DB_PATH",
    "AA_DEFAULT_TTL",
    "AA_ISSUER",
    "AA_LOG_FORMAT",
    "AA_LOG_LEVEL",
    "AA_MAX_TTL",
    "AA_PORT",
    "AA_SEED_TOKENS",
    "AA_SESSION_BUDGET",
    "AA_SIGNING_KEY_PATH",
    "AA_TLS_CERT",
    "AA_TLS_CLIENT_CA",
    "AA_TLS_KEY",
    TLS_MODE,
    "AA_TRUST_DOMAIN",
    "AA_TRUSTED_PROXIES",
];

/// The variable that a line of the config file sets: the two short names stand beside the full ones.
pub(super) fn of_key(key: &str) -> Option<&'static str> {
    match key {
        "MODE" => Some(MODE),
        "ADMIN_SECRET" => Some(ADMIN_SECRET),
        CONFIG_PATH => None,
        _ => of_variable(key),
    }
}

/// The variable of exactly that name.
pub(super) fn of_variable(name: &str) -> Option<&'static str> {
    ALL.into_iter().find(|known| *known == name)
}

/// The variable that was meant by a name with at most two letters wrong, missing or too many, the first one right.
pub(super) fn meant_by(name: &str) -> Option<&'static str> {
    let first = |name: &str| name.strip_prefix("AA_").and_then(|rest| rest.chars().next());
    ALL.into_iter()
        .filter(|known| first(known) == first(&name.to_ascii_uppercase()))
        .map(|known| (distance(known, &name.to_ascii_uppercase()), known))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, known)| known)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    // Names come from the environment and may have any length; none that long is a typing error.
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, x) in a.bytes().enumerate() {
        let mut left = index + 1;
        let mut next = vec![left];
        for (y, pair) in b.bytes().zip(row.windows(2)) {
            let &[diagonal, above] = pair else { continue };
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised() {
        for (name, meant) in [
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
            assert_eq!(meant_by(name), meant, "{name}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("kitten", "mitten", 1), ("abc", "abc", 0), ("", "ab", 2), ("ab", "ba", 2), ("a", "wxyz", usize::MAX)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
