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

use tokio::signal::unix::{Signal, SignalKind, signal};

pub use self::{
    assets::{Asset, SCRIPT, STYLE, asset_routes},
    error::PageError,
    events::{event, event_stream},
    guard::confined,
    operator::operator_routes,
};

/// Ctrl-C and SIGTERM, which no longer kill the process once they are registered.
#[derive(Debug)]
pub struct StopSignals {
    interrupted: Signal,
    terminated: Signal,
}

impl StopSignals {
    /// Registers them, before the program prints that it is ready.
    ///
    /// # Errors
    ///
    /// When the process cannot listen for signals.
    pub fn register() -> std::io::Result<Self> {
        Ok(Self { interrupted: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? })
    }

    /// Waits for one of them.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}
