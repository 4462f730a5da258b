//! Clients, proxies, certificates and settings as they are met in the field.

mod colons_in_identifiers;
