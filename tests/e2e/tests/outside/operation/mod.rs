//! First steps of operators, developers and auditors.

mod accepted_audit_break;
mod admin_session;
mod audit_export_without_beginning;
mod broker_address;
mod check_command;
mod destructive_commands;
mod health_check;
mod latest_audit_events;
mod lazy_follower;
mod restore_commands;
mod start_report;
mod successful_logins;
