//! Clients, proxies, certificates and settings as they are met in the field.

mod active_agents_gauge;
mod colons_in_identifiers;
mod completion_alias;
mod long_responses;
mod lost_renewals;
mod output_errors;
mod rate_limited_logins;
