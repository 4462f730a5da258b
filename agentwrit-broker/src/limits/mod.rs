//! Bounds on memory and on what each client and each credential may use of the broker.

pub(crate) mod budgets;
pub(crate) mod capacity;
pub(crate) mod document;
pub(crate) mod fair_share;
pub(crate) mod logins;
pub(crate) mod pools;
pub(crate) mod rate_limit;
pub(crate) mod single_flight;
