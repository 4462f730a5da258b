//! Settings that the broker logs at its start.

use std::path::{self, Path};

use super::{Config, LogFormat, LogLevel, TlsConfig};
use crate::{audit::text::printable, telemetry::log};

/// Logs version, paths and TLS mode: bare lines in the text format, one event in the JSON format, nothing when quiet.
pub fn announce(config: &Config) {
    let version = env!("CARGO_PKG_VERSION");
    let [config_file, database, signing_key, tls] = facts(config);
    match config.log_format {
        LogFormat::Json => {
            tracing::info!(component = "broker", version, config_file, database, signing_key, tls, "starting");
        }
        LogFormat::Text if config.log_level == LogLevel::Quiet => {}
        LogFormat::Text => {
            log::print(&format!("agentwrit-broker {version}"));
            let names = ["config file", "database", "signing key", "TLS mode"];
            for (name, fact) in names.iter().zip([config_file, database, signing_key, tls]) {
                log::print(&format!("{name}: {}", printable(&fact)));
            }
        }
    }
}

fn facts(config: &Config) -> [String; 4] {
    let tls = match config.tls {
        TlsConfig::None => "none",
        TlsConfig::Tls { .. } => "tls",
        TlsConfig::Mtls { .. } => "mtls",
    };
    let config_file = config.file.as_deref().map_or_else(|| "none".to_owned(), whole);
    let database = match &config.shared_store {
        Some(_) => "PostgreSQL (AA_DATABASE_URL)".to_owned(),
        None => whole(&config.db_path),
    };
    let signing_key = match &config.shared_store {
        Some(_) => "sealed in the database".to_owned(),
        None => whole(&config.signing_key_path),
    };
    [config_file, database, signing_key, tls.to_owned()]
}

/// The path as it is found from anywhere.
fn whole(path: &Path) -> String {
    path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
