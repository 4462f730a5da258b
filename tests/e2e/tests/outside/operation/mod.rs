//! First steps of operators, developers and auditors.

mod destructive_commands;
mod successful_logins;
