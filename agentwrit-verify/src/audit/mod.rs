//! Audit trail of a broker, verifiable offline.
//!
//! 1. Events are numbered from 1 without gaps and linked: each carries the hash of the preceding one ([`chain`]).
//! 2. A break of the chain that the operator has accepted is named by a later event ([`ChainVerifier`]).
//! 3. An [`Event`] is parsed strictly: a member that the hash does not cover is rejected.
//!
//! The chain proves alterations only against a later hash that the verifier already holds: an attacker who can write
//! the broker's store can rewrite the trail from the altered event on. Store copies of the latest hash elsewhere.
//!
//! ```
//! use agentwrit_verify::audit::{ChainHead, Event, chain};
//!
//! let exported = r#"{"id":"evt-000001","timestamp":"2026-11-21T08:00:00.000001Z","event_type":"admin_auth",
//!     "agent_id":"admin","detail":"operator authenticated","outcome":"success",
//!     "hash":"06f8a88b02dcfe5f24248dc8f705edf5f5897b77898d66afb6095d3c7c030a9d",
//!     "prev_hash":"0000000000000000000000000000000000000000000000000000000000000000"}"#;
//! let mut event: Event = serde_json::from_str(exported)?;
//! let head = chain::verify(ChainHead::GENESIS, [&event])?;
//! assert_eq!(head.sequence, 1);
//!
//! event.detail.push('!');
//! assert!(chain::verify(ChainHead::GENESIS, [&event]).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod chain;
mod chain_verifier;
mod event;
mod event_type;
pub mod text;

pub use chain::{AuditChainError, ChainHead, ChainLink};
pub use chain_verifier::{AcceptedChainBreak, ChainBreak, ChainBreakId, ChainBreakIdError, ChainVerifier};
pub use event::{Event, EventHash, EventId, EventIdError, EventJsonError, Outcome};
pub use event_type::EventType;
