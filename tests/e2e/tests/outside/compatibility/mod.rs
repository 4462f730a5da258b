//! Clients, proxies, certificates and settings as they are met in the field.

mod active_agents_gauge;
mod audit_filters;
mod certificate_renewal;
mod colons_in_identifiers;
mod completion_alias;
mod environment_proxies;
mod long_responses;
mod lost_renewals;
mod output_errors;
mod pem_bundles;
mod rate_limited_logins;
mod settings_in_the_field;
mod tls_handshake_log;
mod v2_broker;
