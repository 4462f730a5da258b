//! Clients, proxies, certificates and settings as they are met in the field.

mod active_agents_gauge;
mod audit_filters;
mod base64_line_breaks;
mod certificate_renewal;
mod colons_in_identifiers;
mod completion_alias;
mod delegation_ttl;
mod environment_proxies;
mod grpc_content_type;
mod long_responses;
mod lost_renewals;
mod null_members;
mod output_errors;
mod pem_bundles;
mod rate_limited_logins;
mod reserved_scopes;
mod settings_in_the_field;
mod tls_handshake_log;
mod v2_broker;
