//! The HTTP client set-up that [`remote`](crate::remote), `agentwrit-client` and `awrit` share.
//!
//! 1. Redirects are not followed: a secret goes to the broker that was named, and only that broker chooses the keys.
//! 2. Proxies from the environment (`HTTP_PROXY` and the like) are ignored; [`ConnectionSettings::proxy`] names one.
//! 3. PEM is read by [`pem`]: every certificate counts, or the text is rejected with the line.
//! 4. [`read_body`] reads a response up to a limit in bytes; [`ConnectionSettings::connect_timeout`] bounds connecting.
//!    How long a whole call may take is its caller's decision.
//! 5. Retries wait by one rule, [`Backoff`]: doubling, capped, with jitter from the system's randomness.
//! 6. [`TransportError`] says why a request got no response in words that name the remedy: a missing authority, a broker that
//!    speaks TLS, a broker that demands a client certificate.
//!
//! Services that verify tokens use [`Follower`](crate::remote::Follower), and agents use the `agentwrit-client` crate;
//! this module is public because crates of the workspace build on it.

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
