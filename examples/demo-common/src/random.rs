//! Random identifiers and secrets.

/// Returns `BYTES` random bytes in hexadecimal.
///
/// # Errors
///
/// When the system has no randomness.
pub fn random_hex<const BYTES: usize>() -> Result<String, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
