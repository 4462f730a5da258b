//! First steps of operators, developers and auditors.

mod destructive_commands;
