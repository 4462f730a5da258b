//! Costs of the machine that figures are compared with: one Ed25519 verification, one fsync.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use ed25519_dalek::{Signer, SigningKey, Verifier};

use crate::{agent::random, scenario::LoadError, tally::Tally};

/// Measures `verify` of ed25519-dalek, for a message of a token's size.
pub(crate) fn verification() -> Result<Tally, LoadError> {
    let key = SigningKey::from_bytes(&random()?);
    let message = [0x5a; 512];
    let (public, signature) = (key.verifying_key(), key.sign(&message));
    let mut tally = Tally::default();
    let started = Instant::now();
    for _ in 0..500 {
        let each = Instant::now();
        let verified = std::hint::black_box(&public).verify(&message, &signature);
        tally.record("Ed25519 verify", each.elapsed());
        verified.map_err(|error| LoadError::Runtime { cause: error.to_string() })?;
    }
    tally.took = started.elapsed();
    Ok(tally)
}

/// Measures the time to make 4 KiB at the end of a file in `directory` durable.
pub(crate) fn fsync(directory: &Path) -> Result<Tally, LoadError> {
    let path = directory.join(format!("load-fsync-{}", std::process::id()));
    let measured = measure_fsync(&path);
    fs::remove_file(&path).unwrap_or_default();
    measured.map_err(|error| LoadError::Runtime { cause: format!("{}: {error}", path.display()) })
}

fn measure_fsync(path: &Path) -> std::io::Result<Tally> {
    let mut file = File::create_new(path)?;
    let mut tally = Tally::default();
    let started = Instant::now();
    for _ in 0..500 {
        let each = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        tally.record("fsync", each.elapsed());
    }
    tally.took = started.elapsed();
    Ok(tally)
}

/// Returns the median time of an operation.
pub(crate) fn median(tally: &Tally, operation: &str) -> Duration {
    tally.find(operation).map_or(Duration::ZERO, |times| times.quantile(500))
}
