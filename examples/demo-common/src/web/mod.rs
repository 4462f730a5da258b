//! Pages of a demo.
//!
//! 1. They act with credentials. So they are for one machine's browser: a request that names another host, or that another
//!    site's page sends, is rejected.
//! 2. Nothing comes from elsewhere and nothing is inline (Content-Security-Policy). Scripts write text, never HTML.

mod assets;
mod error;
mod events;
mod guard;
mod operator;

pub use self::{
    assets::{Asset, SCRIPT, STYLE, asset_routes},
    error::PageError,
    events::{event, event_stream},
    guard::confined,
    operator::operator_routes,
};

/// Waits for Ctrl-C or SIGTERM.
///
/// # Errors
///
/// When the process cannot listen for signals.
pub async fn stop_signal() -> std::io::Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}
