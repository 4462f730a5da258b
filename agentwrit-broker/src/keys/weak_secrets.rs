//! Secrets that are easy to guess.

use std::collections::BTreeSet;

use super::AdminSecret;

/// Returns true if a text is a spelling variant of a placeholder that is in use as a secret.
pub(super) fn is_known_placeholder(text: &str) -> bool {
    let plain: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    PLACEHOLDERS.contains(&plain.as_str())
}

/// Minimum number of distinct characters: sixteen random decimal digits have about eight.
const MIN_DISTINCT: usize = 5;

/// Returns true if a text has too few distinct characters, repeats a text that would be too short, or is a sequence of
/// neighbouring characters.
pub(super) fn is_monotonous(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let distinct: BTreeSet<char> = characters.iter().copied().collect();
    let repeats = |unit: usize| {
        let (beginning, rest) = (characters.iter(), characters.iter().skip(unit));
        unit.saturating_mul(2) <= characters.len() && rest.zip(beginning).all(|(later, earlier)| later == earlier)
    };
    let steps: BTreeSet<i64> = characters
        .windows(2)
        .filter_map(
            |pair| if let [a, b] = pair { Some(i64::from(u32::from(*b)) - i64::from(u32::from(*a))) } else { None },
        )
        .collect();
    distinct.len() < MIN_DISTINCT || (1..AdminSecret::MIN_LENGTH).any(repeats) || steps.len() == 1
}

/// Placeholders in lower case, without punctuation.
const PLACEHOLDERS: [&str; 33] = [
    "changemeinproduction",
    "changethisinproduction",
    "changemebeforeproduction",
    "changemechangeme",
    "changemeplease",
    "changemenow",
    "pleasechangeme",
    "pleasechangethis",
    "changeitplease",
    "changethissecret",
    "changethispassword",
    "replacethissecret",
    "replacemeinproduction",
    "yoursecrethere",
    "youradminsecret",
    "youradminsecrethere",
    "yoursupersecretkey",
    "insertyoursecrethere",
    "thisisasecret",
    "thisisnotsecure",
    "notsecureatallever",
    "defaultadminsecret",
    "insecuredefaultsecret",
    "insecuredefault",
    "adminadminadminadmin",
    "administratoradministrator",
    "passwordpassword",
    "secretsecretsecret",
    "supersecretpassword",
    "0123456789abcdef",
    "1234567890123456",
    "0000000000000000",
    "qwertyuiopasdfgh",
];
