#![doc = include_str!("../README.md")]

pub mod broker;
mod credentials_file;
mod random;
pub mod runs;
pub mod service;
pub mod service_client;
#[cfg(feature = "testing")]
pub mod testing;
pub mod web;

pub use self::{credentials_file::CredentialsFileError, random::random_hex};

/// Any error that stops a demo.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
