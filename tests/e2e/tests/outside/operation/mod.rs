//! First steps of operators, developers and auditors.

mod broker_address;
mod destructive_commands;
mod health_check;
mod lazy_follower;
mod successful_logins;
