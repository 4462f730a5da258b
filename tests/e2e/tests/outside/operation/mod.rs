//! First steps of operators, developers and auditors.

mod broker_address;
mod destructive_commands;
mod health_check;
mod lazy_follower;
mod accepted_audit_break;
mod audit_export_without_beginning;
mod destructive_commands;
mod latest_audit_events;
mod successful_logins;
