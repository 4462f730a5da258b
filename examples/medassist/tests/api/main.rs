//! The API by itself, with tokens made on the spot.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests report by panicking")]

mod claims;
mod hospital;
mod listings;
mod prescriptions;
mod ugly;
