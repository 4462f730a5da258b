//! HTTP client set-up of [`remote`](crate::remote), `agentwrit-client` and `awrit`.
//!
//! 1. Redirects are not followed: secrets are sent to the configured broker only, and only that broker serves the keys.
//! 2. Proxies from the environment (`HTTP_PROXY` and the like) are ignored; [`ConnectionSettings::proxy`] sets one.
//! 3. [`pem`] parses PEM: every certificate is used, or the text is rejected with the line.
//! 4. [`read_body`] reads a response up to a limit in bytes; [`ConnectionSettings::connect_timeout`] bounds connecting.
//!    The caller bounds the whole call.
//! 5. All retries use [`Backoff`]: doubling, capped, with jitter from the system's randomness.
//! 6. [`TransportError`] explains a missing response and its remedy: an untrusted certificate authority, a broker with
//!    TLS, a broker that requires a client certificate.
//! 7. Connections use HTTP/1.1 only.
//!
//! Services that verify tokens use [`Follower`](crate::remote::Follower), and agents use the `agentwrit-client` crate;
//! this module is public for the crates of this workspace.

mod backoff;
mod body;
mod broker_url;
pub mod pem;
mod settings;
mod transport_error;

#[cfg(feature = "remote")]
pub(crate) use self::broker_url::without_userinfo;
pub use self::{
    backoff::{Backoff, random_fraction},
    body::{BodyError, read_body},
    broker_url::{BrokerUrl, BrokerUrlError, is_loopback_host},
    settings::{ConnectionSettings, SettingsError},
    transport_error::{TransportError, TransportErrorKind},
};
